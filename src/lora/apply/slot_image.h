// The contents of one slot, laid out on the host for the device. Where they have arrived they are an operand themselves, from
// which weights and fronts are made; only layers that add their adapters as they run need a copy at a fixed address.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/runtime.h"
#include "lora/apply/parts.h"
#include "lora/apply/slot_layout.h"
#include "ops/ops.h"

namespace fx {

using SlotParts = std::vector<SlotPart>;
// What weights or fronts have in them, by slot; nothing where that is not known.
using SlotContents = std::vector<std::optional<SlotParts>>;

struct SlotImage {
  size_t slot = 0;
  SlotParts parts;
  SlotSize size;          // of the slot that it may be copied to
  bool matrices = false;  // a and b are in it; otherwise what changes with the scales alone
  // Where it lies: all images of one swap travel together.
  std::shared_ptr<Staging> staging;
  size_t begin = 0, bytes = 0;
};

// The room that parts take in a layer of `out` rows: whole steps of ranks each.
SlotSize need_of(const SlotParts& parts, int64_t out);

// Whether they have the same matrices at the same places, so that only scales may differ.
bool same_matrices(const SlotParts& x, const SlotParts& y);

// Lays out the images that have no place yet, on all cores, in one transfer, and sends it. Their slots are those of
// `target`, all on one device.
void lay_out(std::vector<SlotImage>& images, const AdapterTarget& target);

// An image with matrices where it has arrived, for work that this thread issues.
LoraOperand operand_of(const SlotImage& image, const AdapterTarget::Slot& slot);

// Copies to the slot's memory, which has the image's size. In stream order. What is left of earlier matrices is covered by
// no segment.
void write(const SlotImage& image, const AdapterTarget::Slot& slot);

}  // namespace fx
