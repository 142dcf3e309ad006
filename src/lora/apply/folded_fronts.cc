#include "lora/apply/folded_fronts.h"

#include <algorithm>
#include <limits>

#include "core/finally.h"

namespace fx {
namespace {

constexpr float kLeastRoom = 1.0f;  // see FoldLoraArgs
constexpr int kLevels = 3;          // of use: a quarter, a half, all; 0 is none

}  // namespace

FoldedFronts::FoldedFronts(Ops& ops, const AdapterTarget& target) : ops_(ops), target_(&target) {
  const size_t slots = target.slots().size();
  contents_.assign(slots, SlotParts{});  // as loaded
  reach_.assign(slots, 0);
  for (size_t slot = 0; slot < slots; ++slot) any_ = any_ || has(slot);
  if (!any_) return;
  rooms_ = Buffer(ops.runtime(), DType::f32, {static_cast<int64_t>(slots)});
  reaches_ = Buffer(ops.runtime(), DType::i32, {static_cast<int64_t>(slots)});
}

bool FoldedFronts::has_room(size_t slot, const SlotParts& parts) const {
  return need_of(parts, 1).ranks <= weight(slot).front.size(1);
}

void FoldedFronts::begin() {
  written_.clear();
  folds_.layers.clear();
  if (!any_) return;
  const std::vector<float> all(contents_.size(), std::numeric_limits<float>::infinity());
  ops_.runtime().copy(rooms_.tensor().raw(), all.data(), all.size() * sizeof(float), CopyKind::host_to_device);
  ops_.runtime().fill_zero(reaches_.tensor().raw(), static_cast<size_t>(reaches_.tensor().bytes()));
  ops_.runtime().synchronize();
}

void FoldedFronts::write(size_t slot, const LoraOperand& operand, const SlotParts& parts) {
  contents_[slot].reset();
  written_.emplace_back(slot, parts);
  const Param& param = weight(slot);
  const auto at = static_cast<int64_t>(slot);
  folds_.layers.push_back({.lora = parts.empty() ? LoraOperand() : operand,
                           .weight_scale = param.scale,
                           .weight_front = param.front,
                           .weight_down = param.down,
                           .column_scale = param.column_scale,
                           .room = parts.empty() ? Tensor() : rooms_.tensor().slice(0, at, at + 1),
                           .reach = parts.empty() ? Tensor() : reaches_.tensor().slice(0, at, at + 1)});
}

bool FoldedFronts::finish(const AdapterSet& adapters) {
  if (written_.empty()) return true;
  ops_.fold_loras(folds_);
  folds_.layers.clear();
  std::vector<float> rooms(contents_.size());
  std::vector<int32_t> reaches(contents_.size());
  Runtime& runtime = ops_.runtime();
  runtime.copy(rooms.data(), rooms_.tensor().raw(), rooms.size() * sizeof(float), CopyKind::device_to_host);
  runtime.copy(reaches.data(), reaches_.tensor().raw(), reaches.size() * sizeof(int32_t), CopyKind::device_to_host);
  runtime.synchronize();
  if (std::ranges::any_of(written_, [&](const auto& each) { return rooms[each.first] < kLeastRoom; })) return false;
  adapters_ = adapters;
  for (auto& [slot, parts] : written_) {
    reach_[slot] = reaches[slot];
    contents_[slot] = std::move(parts);
  }
  return true;
}

int64_t FoldedFronts::columns_at(size_t slot, int level) const {
  if (level == 0 || !has(slot)) return 0;
  const int64_t all = weight(slot).front.size(1);
  return std::min(all, ModelTypes::whole_lines(all >> (kLevels - level)));
}

// The lowest that takes all in.
int FoldedFronts::level() const {
  int level = 0;
  for (size_t slot = 0; slot < reach_.size(); ++slot) {
    while (reach_[slot] > columns_at(slot, level)) ++level;
  }
  return level;
}

void FoldedFronts::use(bool on) { use_level(on ? level() : 0); }

void FoldedFronts::use_level(int level) {
  used_ = level;
  for (size_t slot = 0; slot < reach_.size(); ++slot)
    target_->slots()[slot].slot->front_columns = columns_at(slot, level);
}

bool FoldedFronts::slots_have_memory() const {
  const auto has_memory = [](const AdapterTarget::Slot& place) {
    return place.slot->weight->front.defined() && place.slot->operand.defined();
  };
  return std::ranges::any_of(target_->slots(), has_memory);
}

void FoldedFronts::with_other_columns(const std::function<void()>& work) {
  const int now = used_;
  const Finally back([&] { use_level(now); });
  for (int level = 0; level <= kLevels; ++level) {
    if (level == now || (level == 0 && slots_have_memory())) continue;
    use_level(level);
    work();
  }
}

}  // namespace fx
