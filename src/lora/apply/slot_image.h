// The contents of one slot, laid out on the host for the device.
#pragma once

#include <vector>

#include "lora/apply/parts.h"
#include "lora/apply/slots.h"

namespace fx {

struct SlotImage {
  size_t slot = 0;
  std::vector<SlotPart> parts;
  SlotSize size;                  // for which the image is laid out
  bool matrices = false;          // a and b are to be written; otherwise scales only
  int64_t ranks = 0;              // used rows of a
  std::vector<float> a;           // (ranks, in)
  std::vector<float> b;           // (out, size.ranks)
  std::vector<float> scale;       // (size.ranks)
  std::vector<int32_t> segments;  // (count, 4)
  int32_t count = 0;
};

// The room that parts take.
SlotSize need_of(const std::vector<SlotPart>& parts);

// Whether they have the same matrices at the same places, so that only scales may differ.
bool same_matrices(const std::vector<SlotPart>& x, const std::vector<SlotPart>& y);

SlotImage make_slot_image(const LoraSlot& layer, size_t slot, std::vector<SlotPart> parts, const SlotSize& size,
                          bool matrices);

// Copies to the slot's memory, which has the image's size. Returns the bytes; host memory has to stay until the
// runtime is synchronised.
size_t write(const SlotImage& image, const AdapterTarget::Slot& slot);

}  // namespace fx
