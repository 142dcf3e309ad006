#include "lora/apply/merged_weights.h"

namespace fx {

MergedWeights::MergedWeights(Ops& ops, const AdapterTarget& target) : ops_(ops), target_(&target) {
  const size_t slots = target.slots().size();
  sets_[0].contents.assign(slots, SlotParts{});  // as loaded
  sets_[1].contents.assign(slots, std::nullopt);
  for (size_t slot = 0; slot < slots; ++slot) two_sets_ = two_sets_ || weight(slot).next.defined();
}

void MergedWeights::write(size_t slot, const LoraOperand& operand, const SlotParts& parts) {
  std::optional<SlotParts>& contents = sets_[other()].contents[slot];
  contents.reset();  // if this throws
  const Param& param = weight(slot);
  ops_.merge_lora({.base = param.master,
                   .lora = parts.empty() ? LoraOperand() : operand,
                   .weight = two_sets_ ? param.next : param.tensor,
                   .weight_scale = two_sets_ ? param.next_scale : param.scale});
  contents = parts;
}

void MergedWeights::turn() {
  if (!two_sets_) return;
  target_->exchange_weight_sets();
  now_ = 1 - now_;
}

void MergedWeights::forget(size_t slot) {
  for (Set& set : sets_) set.contents[slot].reset();
}

}  // namespace fx
