#include "lora/apply/folded_slots.h"

#include <algorithm>

namespace fx {
namespace {

constexpr float kLeastRoom = 1.0f;  // see FoldLoraArgs

bool has_front(const AdapterTarget::Slot& slot) { return slot.slot->weight->front.defined(); }

}  // namespace

FoldedSlots::FoldedSlots(Ops& ops, const AdapterTarget& target) : ops_(ops), target_(&target) {
  if (!std::ranges::any_of(target.slots(), has_front)) return;
  rooms_ = Buffer(ops.runtime(), DType::f32, {static_cast<int64_t>(target.slots().size())});
}

void FoldedSlots::update(size_t index) {
  const AdapterTarget::Slot& place = target_->slots()[index];
  const LoraSlot& slot = *place.slot;
  if (!has_front(place) || !slot.operand.defined()) return;
  const auto at = static_cast<int64_t>(index);
  ops_.fold_lora({.lora = slot.operand,
                  .weight_scale = slot.weight->scale,
                  .weight_front = slot.weight->front,
                  .room = rooms_.tensor().slice(0, at, at + 1)});
  undecided_.insert(index);
}

void FoldedSlots::decide() {
  if (undecided_.empty()) return;
  std::vector<float> rooms(target_->slots().size());
  ops_.runtime().copy(rooms.data(), rooms_.tensor().raw(), rooms.size() * sizeof(float), CopyKind::device_to_host);
  ops_.runtime().synchronize();
  for (const size_t index : undecided_) {
    if (rooms[index] >= kLeastRoom) too_narrow_.erase(index);
    else too_narrow_.insert(index);
  }
  undecided_.clear();
  // All of them or none: a recorded step knows which, and there are two to record, whatever adapters come.
  for (const AdapterTarget::Slot& place : target_->slots()) {
    place.slot->in_front = has_front(place) && place.slot->operand.defined() && too_narrow_.empty();
  }
}

}  // namespace fx
