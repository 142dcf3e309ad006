// The contents of one slot, laid out on the host for the device.
#pragma once

#include <memory>
#include <vector>

#include "core/runtime.h"
#include "lora/apply/parts.h"
#include "lora/apply/slot_layout.h"
#include "ops/ops.h"

namespace fx {

struct SlotImage {
  size_t slot = 0;
  std::vector<SlotPart> parts;
  SlotSize size;          // for which the image is laid out
  bool matrices = false;  // a and b are to be written; otherwise scales only
  // Where it lies: all images of one swap travel together. First, with matrices, what the parts need of them and no more
  // (all of A, then B of each part), then scales, segments and count as SlotLayout has them.
  std::shared_ptr<Staging> staging;
  size_t begin = 0, tail = 0, bytes = 0;
};

// The room that parts take.
SlotSize need_of(const std::vector<SlotPart>& parts);

// Whether they have the same matrices at the same places, so that only scales may differ.
bool same_matrices(const std::vector<SlotPart>& x, const std::vector<SlotPart>& y);

// Lays out the images that have no place yet, on all cores, in one transfer, and sends it. Their slots are those of
// `target`, all on one device.
void lay_out(std::vector<SlotImage>& images, const AdapterTarget& target);

// Copies to the slot's memory, which has the image's size. Returns the bytes; in stream order. What is left of earlier
// matrices is covered by no segment.
size_t write(Ops& ops, const SlotImage& image, const AdapterTarget::Slot& slot);

}  // namespace fx
