#include "lora/apply/folded_fronts.h"

#include <limits>

namespace fx {
namespace {

constexpr float kLeastRoom = 1.0f;  // see FoldLoraArgs

}  // namespace

FoldedFronts::FoldedFronts(Ops& ops, const AdapterTarget& target) : ops_(ops), target_(&target) {
  const size_t slots = target.slots().size();
  contents_.assign(slots, SlotParts{});  // as loaded
  for (size_t slot = 0; slot < slots && !rooms_.tensor().defined(); ++slot) {
    if (has(slot)) rooms_ = Buffer(ops.runtime(), DType::f32, {static_cast<int64_t>(slots)});
  }
}

bool FoldedFronts::has_room(size_t slot, const SlotParts& parts) const {
  return need_of(parts, 1).ranks <= weight(slot).front.size(1);
}

void FoldedFronts::begin() {
  written_.clear();
  if (!rooms_.tensor().defined()) return;
  const std::vector<float> all(contents_.size(), std::numeric_limits<float>::infinity());
  ops_.runtime().copy(rooms_.tensor().raw(), all.data(), all.size() * sizeof(float), CopyKind::host_to_device);
  ops_.runtime().synchronize();
}

void FoldedFronts::write(size_t slot, const LoraOperand& operand, const SlotParts& parts) {
  contents_[slot].reset();
  written_.push_back(slot);
  const Param& param = weight(slot);
  const auto at = static_cast<int64_t>(slot);
  ops_.fold_lora({.lora = parts.empty() ? LoraOperand() : operand,
                  .weight_scale = param.scale,
                  .weight_front = param.front,
                  .weight_down = param.down,
                  .column_scale = param.column_scale,
                  .room = parts.empty() ? Tensor() : rooms_.tensor().slice(0, at, at + 1)});
  contents_[slot] = parts;
}

bool FoldedFronts::finish(const AdapterSet& adapters) {
  if (written_.empty()) return true;
  std::vector<float> rooms(contents_.size());
  ops_.runtime().copy(rooms.data(), rooms_.tensor().raw(), rooms.size() * sizeof(float), CopyKind::device_to_host);
  ops_.runtime().synchronize();
  bool fits = true;
  for (const size_t slot : written_) fits = fits && rooms[slot] >= kLeastRoom;
  if (fits) adapters_ = adapters;
  for (const size_t slot : written_) {
    if (!fits) contents_[slot].reset();
  }
  return fits;
}

void FoldedFronts::use(bool on) {
  for (const AdapterTarget::Slot& slot : target_->slots()) slot.slot->in_front = on && slot.slot->weight->front.defined();
}

}  // namespace fx
