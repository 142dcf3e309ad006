// Weights that carry their layer's adapters, made on the device from the unquantised masters, so that a layer pays nothing
// for them in a step. Always from the masters, never from what was there before: W' depends on master and adapters alone,
// and without adapters it is the base again, bitwise.
//
// Where the model has two sets of these weights, layers read one while the other is written, and then the two change
// places: a picture waits for no merging that was done while the last one ran.
#pragma once

#include "lora/apply/slot_image.h"

namespace fx {

class MergedWeights {
 public:
  // Both must outlive it. Layers whose weight has no master are left alone.
  MergedWeights(Ops& ops, const AdapterTarget& target);

  bool has(size_t slot) const { return weight(slot).master.defined(); }
  bool two_sets() const { return two_sets_; }

  // Of the set that layers read, and of the one that is written: the same where there is but one.
  const SlotContents& now() const { return sets_[now_].contents; }
  const SlotContents& next() const { return sets_[other()].contents; }

  // Writes a weight of the next set, in stream order: base + operand, which has these parts. Without parts, the base.
  void write(size_t slot, const LoraOperand& operand, const SlotParts& parts);
  // All of the next set is written: `adapters`, to which its parts point, live as long as they are in it.
  void finish(const AdapterSet& adapters) { sets_[other()].adapters = adapters; }
  // Layers read the next set. With no work in flight.
  void turn();
  // The layer has a new master, or will have.
  void forget(size_t slot);
  void forget_next(size_t slot) { sets_[other()].contents[slot].reset(); }

 private:
  struct Set {
    SlotContents contents;
    AdapterSet adapters;
  };
  const Param& weight(size_t slot) const { return *target_->slots()[slot].slot->weight; }
  size_t other() const { return two_sets_ ? 1 - now_ : now_; }

  Ops& ops_;
  const AdapterTarget* target_;
  bool two_sets_ = false;
  size_t now_ = 0;
  Set sets_[2];
};

}  // namespace fx
