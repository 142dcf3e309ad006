#include "lora/apply/merged_slots.h"

#include "core/buffer.h"
#include "nn/taps.h"

namespace fx {

MergedSlots::MergedSlots(Ops& ops, const AdapterTarget& target)
    : ops_(ops), target_(&target), carries_(target.slots().size(), false) {}

bool MergedSlots::update(size_t index, bool changed, bool rewritten, bool merge) {
  LoraSlot& slot = *target_->slots()[index].slot;
  const Param& weight = *slot.weight;
  if (!weight.master.defined()) return false;
  const bool carry = merge && slot.operand.defined();
  const bool write = rewritten || (carry && changed) || carry != carries_[index];
  slot.merged = merge;
  if (!write) return false;
  carries_[index] = carry;
  ops_.merge_lora({.base = weight.master,
                   .lora = carry ? slot.operand : LoraOperand(),
                   .weight = weight.tensor,
                   .weight_scale = weight.scale});
  return true;
}

void write_parameter(Ops& ops, const Param& param, const std::vector<float>& values) {
  const Tensor& target = param.master.defined() ? param.master : param.tensor;
  if (target.dtype() != DType::f8_e4m3) return upload(ops, values, target);
  const Buffer widened(ops.runtime(), DType::f32, target.shape());
  upload(ops, values, widened.tensor());
  ops.quantize_rows({.x = widened.tensor(), .y = target, .scale = param.scale, .largest = param.largest()});
  ops.runtime().synchronize();  // the buffer goes away
}

}  // namespace fx
