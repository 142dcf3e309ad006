// Adapters in the fronts of weights in e4m3, where a layer's products take them along (LinearArgs::weight_front): for layers
// without masters. All of a model's fronts are used, or none. How much of them follows from the adapter that reaches farthest
// on any layer: all columns, a half, a quarter, or no column. So a recorded step knows of few arrangements, whatever adapters
// come, and small adapters cost less.
#pragma once

#include <functional>

#include "lora/apply/slot_image.h"

namespace fx {

class FoldedFronts {
 public:
  // Both must outlive it. Layers whose weight has no front are left alone.
  FoldedFronts(Ops& ops, const AdapterTarget& target);

  bool any() const { return any_; }
  bool has(size_t slot) const { return weight(slot).front.defined(); }
  // Whether these ranks have room there; how large values are is known when they are folded.
  bool has_room(size_t slot, const SlotParts& parts) const;
  const SlotContents& now() const { return contents_; }

  // Before the first write of a swap.
  void begin();
  // A front is to be written: the operand, which has these parts and must stay until `finish`. Without parts, nothing.
  void write(size_t slot, const LoraOperand& operand, const SlotParts& parts);
  // Writes them, waits, and says whether all that was written since `begin` is as good there as beside the weight. If not,
  // what was written counts as unknown.
  bool finish(const AdapterSet& adapters);
  // The layer's weight has new scales.
  void forget(size_t slot) { contents_[slot].reset(); }

  // From now on layers take as many columns as what the fronts have reaches, or none.
  void use(bool on);
  // Runs `work` once for each other number of columns that layers may be told to take. Without columns, though, layers whose
  // slots have memory take what they have, and need memory for that: these are left out.
  void with_other_columns(const std::function<void()>& work);

 private:
  const Param& weight(size_t slot) const { return *target_->slots()[slot].slot->weight; }
  int64_t columns_at(size_t slot, int level) const;
  int level() const;
  bool slots_have_memory() const;
  void use_level(int level);

  Ops& ops_;
  const AdapterTarget* target_;
  Buffer rooms_, reaches_;  // (slots) f32, i32: see FoldLoraArgs
  SlotContents contents_;
  std::vector<int64_t> reach_;                         // columns, from the last, that have an effect
  AdapterSet adapters_;                                // to which the contents point
  std::vector<std::pair<size_t, SlotParts>> written_;  // since `begin`
  FoldLorasArgs folds_;                                // that write them
  bool any_ = false;                                   // a layer has a front
  int used_ = 0;                                       // level
};

}  // namespace fx
