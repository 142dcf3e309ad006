#include "lora/apply/hotswap.h"

#include <algorithm>
#include <chrono>

#include "core/error.h"
#include "core/finally.h"

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
      in_slots_(slots.count()),
      reserved_(slots.count()),
      merged_(ops, slots.target()),
      weights_(ops, slots.target()),
      fronts_(ops, slots.target()) {
  // From the start as it is without an adapter, so that the first one changes no recorded step.
  for (size_t slot = 0; slot < slots.count(); ++slot) target().slots()[slot].slot->merged = weights_.has(slot);
}

SwapReport HotSwap::publish(StagedAdapters&& staged) {
  const std::scoped_lock lock(mutex_, next_mutex_);
  return publish_locked(std::move(staged));
}

SwapReport HotSwap::publish_locked(StagedAdapters&& given, SwapReport report) {
  const auto start = std::chrono::steady_clock::now();
  StagedAdapters staged = std::move(given);
  if (staged.version_ != version_) {
    const AdapterSet adapters = staged.adapters_;
    Acting acting = staged.acting_;
    const size_t ahead = staged.merged_ahead_;
    staged = stage_locked(adapters, std::move(acting), true, std::move(staged));
    staged.merged_ahead_ = ahead;
  }
  // Nothing has changed until here, and nothing fails after it but fronts, which may refuse a set.
  std::unique_ptr<ParamUpload> upload = merged_.prepare(staged.values_, staged.merged_);
  report.grew |= grow_for(staged);
  write_parameters(staged, *upload, report);
  upload.reset();  // its memory, before others need theirs
  write_slots(staged);
  const bool turn = weights_change(weights_.now(), staged);
  report.merged_ahead = staged.merged_ahead_;
  report.weights_merged = staged.merged_ahead_ + (turn ? write_weights(staged, false) : 0);
  const bool fronts = write_fronts(staged);
  synchronize();  // the staged images go now
  ++version_;
  if (!fronts) return publish_beside(std::move(staged), std::move(report));
  if (turn) weights_.turn();
  for (size_t slot = 0; slot < slots_->count(); ++slot) {
    target().slots()[slot].slot->merged = staged.carried_ && weights_.has(slot);
  }
  count_changes(staged, report);
  active_parts_ = std::move(staged.parts_);
  active_ = std::move(staged.adapters_);
  acting_ = std::move(staged.acting_);
  active_carried_ = staged.carried_;
  report.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

// For a set that does not fit the range of fronts. If there is no memory for it, what was active comes back, or where there is
// none even for that, no adapter.
SwapReport HotSwap::publish_beside(StagedAdapters&& refused, SwapReport report) {
  StagedAdapters staged = std::move(refused);
  const AdapterSet adapters = staged.adapters_;  // keeps alive what slots and parameters point to
  Acting acting = staged.acting_;
  try {
    return publish_locked(stage_locked(adapters, std::move(acting), false, std::move(staged)), std::move(report));
  } catch (const Error&) {
    staged = {};  // its device memory
    try {
      publish_locked(stage_locked(active_, acting_));
    } catch (const Error&) { publish_locked(stage_locked({}, {})); }
    throw;
  }
}

bool HotSwap::grow_for(const StagedAdapters& staged) {
  std::map<size_t, SlotSize> sizes;
  for (const SlotImage& image : staged.images_) {
    if (!in_slot(staged, image.slot).empty()) sizes[image.slot] = image.size;
  }
  // Once a layer that carries its adapters needs its slot, all get what is reserved for them, so that nothing moves again.
  if (std::ranges::any_of(sizes, [&](const auto& each) { return carries(each.first); })) {
    for (size_t slot = 0; slot < slots_->count(); ++slot) sizes.try_emplace(slot, larger(slots_->size(slot), reserved_[slot]));
  }
  std::vector<AdapterSlots::Growth> growth;
  for (const auto& [slot, size] : sizes) {
    if (size != slots_->size(slot) && size != SlotSize{}) growth.push_back({slot, size});
  }
  slots_->grow(growth);
  return !growth.empty();
}

void HotSwap::write_slots(const StagedAdapters& staged) {
  for (size_t slot = 0; slot < slots_->count(); ++slot) {
    const SlotParts& wanted = in_slot(staged, slot);
    if (wanted == in_slots_[slot]) continue;
    const AdapterTarget::Slot& place = target().slots()[slot];
    const Tensor& count = place.slot->operand.count;
    if (wanted.empty()) place.runtime->fill_zero(count.raw(), static_cast<size_t>(count.bytes()));
    else write(staged.image(slot), place);
    in_slots_[slot] = wanted;
  }
}

// Of the next set, what is not there yet.
size_t HotSwap::write_weights(const StagedAdapters& staged, bool ahead) {
  size_t written = 0;
  for (size_t slot = 0; slot < slots_->count(); ++slot) {
    if (!weights_.has(slot)) continue;
    if (staged.rewritten_.contains(slot)) {
      weights_.forget_next(slot);
      if (ahead) continue;
    }
    const SlotParts& wanted = in_weight(staged, slot);
    if (weights_.next()[slot] == wanted) continue;
    const AdapterTarget::Slot& place = target().slots()[slot];
    weights_.write(slot, wanted.empty() ? LoraOperand() : operand_of(staged.image(slot), place), wanted);
    ++written;
  }
  weights_.finish(staged.adapters_);
  return written;
}

// Returns whether it fits them.
bool HotSwap::write_fronts(const StagedAdapters& staged) {
  bool any = false;
  for (size_t slot = 0; slot < slots_->count(); ++slot) {
    any = any || (staged.carried_ && fronts_.has(slot) && !staged.parts_[slot].empty());
  }
  if (!any) {
    fronts_.use(false);
    return true;
  }
  fronts_.begin();
  for (size_t slot = 0; slot < slots_->count(); ++slot) {
    const SlotParts& wanted = staged.parts_[slot];
    if (!fronts_.has(slot) || (fronts_.now()[slot] == wanted && !staged.rewritten_.contains(slot))) continue;
    fronts_.write(slot, wanted.empty() ? LoraOperand() : operand_of(staged.image(slot), target().slots()[slot]), wanted);
  }
  const bool fits = fronts_.finish(staged.adapters_);
  fronts_.use(fits);
  return fits;
}

void HotSwap::write_parameters(StagedAdapters& staged, ParamUpload& upload, SwapReport& report) {
  const auto note = [&](size_t parameter) { note_change(target().parameters()[parameter].component, report); };
  for (const auto& [parameter, values] : staged.values_) {
    ++report.params_merged;
    note(parameter);
  }
  for (const auto& [parameter, merged] : merged_.now()) {
    if (staged.merged_.contains(parameter)) continue;
    ++report.params_restored;
    note(parameter);
  }
  for (const size_t slot : staged.rewritten_) {
    weights_.forget(slot);
    fronts_.forget(slot);
  }
  report.bytes += merged_.publish(upload, std::move(staged.merged_));
}

void HotSwap::count_changes(const StagedAdapters& staged, SwapReport& report) const {
  for (const SlotImage& image : staged.images_) report.bytes += image.bytes;
  for (size_t slot = 0; slot < staged.parts_.size(); ++slot) {
    const SlotParts &before = active_parts_[slot], &now = staged.parts_[slot];
    if (before == now) continue;
    if (now.empty()) ++report.slots_cleared;
    else if (same_matrices(before, now)) ++report.slots_rescaled;
    else ++report.slots_written;
    note_change(target().slots()[slot].component, report);
  }
}

void HotSwap::synchronize() {
  std::set<Runtime*> runtimes;
  for (const AdapterTarget::Slot& slot : target().slots()) runtimes.insert(slot.runtime);
  for (Runtime* runtime : runtimes) runtime->synchronize();
}

void HotSwap::with_other_arrangements(const std::function<void()>& work) {
  if (fronts_.any()) fronts_.with_other_columns(work);
  if (!weights_.two_sets()) return;
  const std::lock_guard lock(next_mutex_);
  target().exchange_weight_sets();
  const Finally back([&] { target().exchange_weight_sets(); });
  work();
}

std::vector<int> HotSwap::phases(int steps) const {
  std::vector<int> first_steps;
  for (int step = 1; step < steps; ++step) {
    if (acting_at(active_, step, steps) != acting_at(active_, step - 1, steps)) first_steps.push_back(step);
  }
  return first_steps;
}

SwapReport HotSwap::enter_step(int step, int steps) {
  Acting acting = acting_at(active_, step, steps);
  if (acting == acting_) return {};  // this thread alone writes them: no waiting for those that merge ahead
  const std::scoped_lock lock(mutex_, next_mutex_);
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

}  // namespace fx
