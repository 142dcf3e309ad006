// Adapters in the fronts of quantised weights: a cache of what the slots say, made on the device, with which a layer takes
// its adapter along in the product (LinearArgs::weight_front). Layers whose weight has no front are left alone. When one
// of the adapters does not fit (its ranks are more than the front has columns, or e4m3 is too narrow for it), all layers
// add their operands as they lie in the slots.
#pragma once

#include <set>

#include "core/buffer.h"
#include "lora/target.h"
#include "ops/ops.h"

namespace fx {

class FoldedSlots {
 public:
  // Both must outlive it.
  FoldedSlots(Ops& ops, const AdapterTarget& target);

  // Brings the front of a slot's weight in step with it, in stream order: whenever anything of the slot has been written, or
  // the scales of its weight. What the front has follows from the slot's contents alone.
  void update(size_t slot);

  // Waits for that, and tells the layers whether their front is of use (LoraSlot::in_front).
  void decide();

 private:
  Ops& ops_;
  const AdapterTarget* target_;
  Buffer rooms_;  // by slot, see FoldLoraArgs::room; none where no weight has a front
  std::set<size_t> undecided_;
  std::set<size_t> too_narrow_;  // slots whose adapters do not fit their fronts
};

}  // namespace fx
