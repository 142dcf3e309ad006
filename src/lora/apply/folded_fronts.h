// Adapters in the fronts of weights in e4m3, where a layer's products take them along (LinearArgs::weight_front): for layers
// without masters. All of a model's fronts are used, or none, so that a recorded step knows of two arrangements, whatever
// adapters come.
#pragma once

#include "lora/apply/slot_image.h"

namespace fx {

class FoldedFronts {
 public:
  // Both must outlive it. Layers whose weight has no front are left alone.
  FoldedFronts(Ops& ops, const AdapterTarget& target);

  bool has(size_t slot) const { return weight(slot).front.defined(); }
  // Whether these ranks have room there; how large values are is known when they are folded.
  bool has_room(size_t slot, const SlotParts& parts) const;
  const SlotContents& now() const { return contents_; }

  // Before the first write of a swap.
  void begin();
  // Writes a front, in stream order: the operand, which has these parts. Without parts, nothing.
  void write(size_t slot, const LoraOperand& operand, const SlotParts& parts);
  // Waits, and says whether all that was written since `begin` is as good there as beside the weight. If not, what was
  // written counts as unknown.
  bool finish(const AdapterSet& adapters);
  // The layer's weight has new scales.
  void forget(size_t slot) { contents_[slot].reset(); }
  // Whether layers take what their fronts have.
  void use(bool on);

 private:
  const Param& weight(size_t slot) const { return *target_->slots()[slot].slot->weight; }

  Ops& ops_;
  const AdapterTarget* target_;
  Buffer rooms_;  // (slots) f32: see FoldLoraArgs
  SlotContents contents_;
  AdapterSet adapters_;  // to which the contents point
  std::vector<size_t> written_;
};

}  // namespace fx
