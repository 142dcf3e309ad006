// Weights that carry their slot's difference: a cache of what the slots say, made on the device from the unquantised
// masters, so that a layer pays nothing for its adapter in a step. It is always made from the masters, never from what it
// held before: W' depends on the slot alone, and without segments it is the base again, bitwise.
#pragma once

#include <vector>

#include "lora/target.h"
#include "ops/ops.h"

namespace fx {

class MergedSlots {
 public:
  // Both must outlive it. Layers whose weight has no master are left alone.
  MergedSlots(Ops& ops, const AdapterTarget& target);

  // Brings a weight in step with its slot, in stream order. `changed`: the slot has been written; `rewritten`: the layer has
  // a new master. With `merge` false, differences leave the weight and the layer adds them as it runs. Returns whether
  // the weight was written.
  bool update(size_t slot, bool changed, bool rewritten, bool merge);

 private:
  Ops& ops_;
  const AdapterTarget* target_;
  std::vector<bool> carries_;  // by slot: the weight has a difference in it
};

// A parameter gets these values (as many as it has, row-major), rounded to its type; where it has a master, the master
// does, and the weight follows with MergedSlots. Waits for the copy.
void write_parameter(Ops& ops, const Param& param, const std::vector<float>& values);

}  // namespace fx
