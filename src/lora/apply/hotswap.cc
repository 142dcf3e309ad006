#include "lora/apply/hotswap.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "core/error.h"

namespace fx {
namespace {

void note_change(Component component, SwapReport& report) {
  (component == Component::transformer ? report.transformer : report.text_encoders) = true;
}

}  // namespace

HotSwap::HotSwap(Ops& ops, AdapterSlots& slots)
    : ops_(ops),
      slots_(&slots),
      active_parts_(slots.count()),
      merged_(ops, slots.target()),
      merged_slots_(ops, slots.target()),
      folded_slots_(ops, slots.target()) {
  // From the start as it is without an adapter, so that the first one changes no recorded step.
  for (size_t slot = 0; slot < slots.count(); ++slot) merged_slots_.update(slot, false, false, true);
}

HotSwap::Snapshot HotSwap::snapshot() const {
  Snapshot now{.version = version_, .parts = active_parts_, .merged = merged_.now()};
  for (size_t slot = 0; slot < slots_->count(); ++slot) now.sizes.push_back(slots_->size(slot));
  return now;
}

StagedAdapters HotSwap::stage(const AdapterSet& adapters, std::optional<int> steps) const {
  Acting acting = steps ? acting_at(adapters, 0, *steps) : acting_ever(adapters);
  AdapterParts parts = parts_of(adapters, acting, target());
  Snapshot now;
  MergedSet merged;
  {
    const std::lock_guard lock(mutex_);
    now = snapshot();
    merged = with_base(parts);
  }
  // Without the lock, so that the engine need not wait.
  return stage_against(now, adapters, std::move(acting), std::move(parts), std::move(merged), {});
}

StagedAdapters HotSwap::stage_locked(AdapterSet adapters, Acting acting, StagedAdapters&& earlier) const {
  AdapterParts parts = parts_of(adapters, acting, target());
  MergedSet merged = with_base(parts);
  return stage_against(snapshot(), std::move(adapters), std::move(acting), std::move(parts), std::move(merged),
                       std::move(earlier));
}

// The merged parameters of a plan, with the base values of those that are merged already; others are read.
MergedSet HotSwap::with_base(const AdapterParts& parts) const {
  MergedSet merged;
  for (const auto& [parameter, wanted] : parts.parameters) merged[parameter] = {wanted, merged_.base(parameter)};
  return merged;
}

StagedAdapters HotSwap::stage_against(const Snapshot& now, AdapterSet adapters, Acting acting, AdapterParts&& parts,
                                      MergedSet&& merged, StagedAdapters&& earlier) const {
  StagedAdapters staged;
  staged.adapters_ = std::move(adapters);
  staged.acting_ = std::move(acting);
  staged.merged_ = std::move(merged);
  staged.version_ = now.version;
  staged.merge_slots_ = std::ranges::all_of(
      staged.adapters_, [](const AppliedAdapter& applied) { return applied.settings.steps.whole(); });
  stage_slots(now, std::move(parts.slots), std::move(earlier), staged);
  stage_values(now, std::move(earlier), staged);
  return staged;
}

void HotSwap::stage_slots(const Snapshot& now, PartsBySlot&& parts, StagedAdapters&& earlier,
                          StagedAdapters& staged) const {
  auto old = earlier.images_.begin();  // in the order of slots, as here
  for (size_t slot = 0; slot < parts.size(); ++slot) {
    while (old != earlier.images_.end() && old->slot < slot) ++old;
    if (parts[slot] == now.parts[slot]) continue;
    if (parts[slot].empty()) {
      staged.cleared_.push_back(slot);
      continue;
    }
    const bool matrices = !same_matrices(parts[slot], now.parts[slot]);
    const SlotSize size = grown(now.sizes[slot], need_of(parts[slot]));
    const bool have = old != earlier.images_.end() && old->slot == slot && old->parts == parts[slot] &&
                      old->size == size && (old->matrices || !matrices);
    staged.images_.push_back(have ? std::move(*old) : SlotImage{slot, std::move(parts[slot]), size, matrices});
  }
  lay_out(staged.images_, target());
}

void HotSwap::stage_values(const Snapshot& now, StagedAdapters&& earlier, StagedAdapters& staged) const {
  for (const auto& [parameter, wanted] : staged.merged_) {
    const auto active = now.merged.find(parameter);
    if (active != now.merged.end() && active->second.parts == wanted.parts) continue;
    const auto old = earlier.values_.find(parameter);
    const bool have = old != earlier.values_.end() && earlier.merged_.at(parameter).parts == wanted.parts;
    staged.values_[parameter] =
        have ? std::move(old->second) : merged_values(wanted, *target().parameters()[parameter].param);
  }
}

SwapReport HotSwap::publish(StagedAdapters&& staged) {
  const std::lock_guard lock(mutex_);
  return publish_locked(std::move(staged));
}

SwapReport HotSwap::publish_locked(StagedAdapters&& given) {
  const auto start = std::chrono::steady_clock::now();
  StagedAdapters staged = std::move(given);
  if (staged.version_ != version_) {
    AdapterSet adapters = staged.adapters_;
    Acting acting = staged.acting_;
    staged = stage_locked(std::move(adapters), std::move(acting), std::move(staged));
  }
  SwapReport report;
  report.grew = grow_for(staged.images_);  // the last that can fail
  const std::set<size_t> rewritten = write_parameters(staged, report);
  write_slots(staged, rewritten, report);
  synchronize();  // the staged images go now
  folded_slots_.decide();
  for (SlotImage& image : staged.images_) active_parts_[image.slot] = std::move(image.parts);
  for (const size_t slot : staged.cleared_) active_parts_[slot].clear();
  active_ = std::move(staged.adapters_);
  acting_ = std::move(staged.acting_);
  ++version_;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

bool HotSwap::grow_for(const std::vector<SlotImage>& images) {
  std::vector<AdapterSlots::Growth> growth;
  for (const SlotImage& image : images) {
    if (image.size != slots_->size(image.slot)) growth.push_back({image.slot, image.size});
  }
  slots_->grow(growth);
  return !growth.empty();
}

void HotSwap::write_slot(const SlotImage& image, SwapReport& report) {
  const AdapterTarget::Slot& slot = target().slots()[image.slot];
  report.bytes += write(ops_, image, slot);
  ++(image.matrices ? report.slots_written : report.slots_rescaled);
  note_change(slot.component, report);
}

void HotSwap::clear_slot(size_t index, SwapReport& report) {
  const AdapterTarget::Slot& slot = target().slots()[index];
  const Tensor& count = slot.slot->operand.count;
  slot.runtime->fill_zero(count.raw(), static_cast<size_t>(count.bytes()));
  ++report.slots_cleared;
  note_change(slot.component, report);
}

// What is made from a slot follows it at once: the device works on that while the host issues the next.
void HotSwap::write_slots(const StagedAdapters& staged, const std::set<size_t>& rewritten, SwapReport& report) {
  std::set<size_t> followed;
  const auto follow = [&](size_t slot) {
    const bool merged = merged_slots_.update(slot, true, rewritten.contains(slot), staged.merge_slots_);
    report.weights_merged += merged ? 1 : 0;
    folded_slots_.update(slot);
    followed.insert(slot);
  };
  for (const SlotImage& image : staged.images_) {
    write_slot(image, report);
    follow(image.slot);
  }
  for (const size_t slot : staged.cleared_) {
    clear_slot(slot, report);
    follow(slot);
  }
  // All others: their masters may be new, or the set is the first that is merged, or that is not.
  for (size_t slot = 0; slot < slots_->count(); ++slot) {
    if (followed.contains(slot)) continue;
    const bool is_new = rewritten.contains(slot);
    report.weights_merged += merged_slots_.update(slot, false, is_new, staged.merge_slots_) ? 1 : 0;
    if (is_new) folded_slots_.update(slot);
  }
}

// Returns the slots whose layer has a new master, or new scales beside a front.
std::set<size_t> HotSwap::write_parameters(StagedAdapters& staged, SwapReport& report) {
  std::set<size_t> rewritten;
  const auto note_master = [&](size_t parameter) {
    const AdapterTarget::Parameter& place = target().parameters()[parameter];
    if (!place.param->master.defined() && !place.param->front.defined()) return;
    if (const auto slot = target().find_slot(place.component, module_of(place.param->name))) rewritten.insert(*slot);
  };
  for (const auto& [parameter, values] : staged.values_) {
    ++report.params_merged;
    note_master(parameter);
    note_change(target().parameters()[parameter].component, report);
  }
  for (const auto& [parameter, merged] : merged_.now()) {
    if (staged.merged_.contains(parameter)) continue;
    ++report.params_restored;
    note_master(parameter);
    note_change(target().parameters()[parameter].component, report);
  }
  report.bytes += merged_.publish(staged.values_, std::move(staged.merged_));
  return rewritten;
}

void HotSwap::synchronize() {
  std::set<Runtime*> runtimes;
  for (const AdapterTarget::Slot& slot : target().slots()) runtimes.insert(slot.runtime);
  for (Runtime* runtime : runtimes) runtime->synchronize();
}

std::vector<int> HotSwap::phases(int steps) const {
  std::vector<int> first_steps;
  for (int step = 1; step < steps; ++step) {
    if (acting_at(active_, step, steps) != acting_at(active_, step - 1, steps)) first_steps.push_back(step);
  }
  return first_steps;
}

SwapReport HotSwap::enter_step(int step, int steps) {
  const std::lock_guard lock(mutex_);
  Acting acting = acting_at(active_, step, steps);
  if (acting == acting_) return {};
  return publish_locked(stage_locked(active_, std::move(acting)));
}

SwapReport HotSwap::set_scales(const std::vector<float>& scales) {
  AdapterSet adapters = active_;
  check(scales.size() == adapters.size(), ErrorCode::invalid_argument, "expected {} scales, found {}", adapters.size(),
        scales.size());
  for (size_t i = 0; i < scales.size(); ++i) {
    adapters[i].settings.scale = scales[i];
    adapters[i].settings.text_encoder_scale.reset();
  }
  return apply(adapters);
}

void HotSwap::reserve(const std::vector<AdapterSet>& sets) {
  const std::lock_guard lock(mutex_);
  std::vector<SlotSize> sizes = snapshot().sizes;
  for (const AdapterSet& adapters : sets) {
    const PartsBySlot parts = parts_of(adapters, acting_ever(adapters), target()).slots;
    for (size_t slot = 0; slot < parts.size(); ++slot) {
      if (!parts[slot].empty()) sizes[slot] = grown(sizes[slot], need_of(parts[slot]));
    }
  }
  reserve_locked(sizes);
}

void HotSwap::reserve_rank(Component component, int64_t rank) {
  const std::lock_guard lock(mutex_);
  std::vector<SlotSize> sizes = snapshot().sizes;
  for (size_t slot = 0; slot < sizes.size(); ++slot) {
    const AdapterTarget::Slot& place = target().slots()[slot];
    if (place.component != component) continue;
    // The aliases of a fused layer are its parts: to_q, to_k, to_v, and the MLP of a single block.
    int64_t parts = 0;
    for (const ModuleAlias& alias : target().aliases(component, place.slot->module)) parts += alias.rows.whole() ? 0 : 1;
    parts = std::max<int64_t>(parts, 1);
    sizes[slot] = grown(sizes[slot], {parts * rank, parts});
  }
  reserve_locked(sizes);
}

void HotSwap::reserve_locked(const std::vector<SlotSize>& sizes) {
  std::vector<AdapterSlots::Growth> growth;
  std::set<size_t> grown;
  StagedAdapters moved;  // what is active in slots that move
  for (size_t slot = 0; slot < sizes.size(); ++slot) {
    if (sizes[slot] == slots_->size(slot)) continue;
    growth.push_back({slot, sizes[slot]});
    grown.insert(slot);
    if (active_parts_[slot].empty()) continue;
    moved.images_.push_back(SlotImage{slot, active_parts_[slot], sizes[slot], true});
  }
  lay_out(moved.images_, target());
  slots_->grow(growth);
  SwapReport report;
  for (const SlotImage& image : moved.images_) write_slot(image, report);
  for (const size_t slot : grown) folded_slots_.update(slot);
  synchronize();
  folded_slots_.decide();
  ++version_;
}

}  // namespace fx
