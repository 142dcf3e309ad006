// HotSwap, the first phase: what a set wants, what of it is there, and images of the rest.
#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"
#include "lora/apply/hotswap.h"

namespace fx {
namespace {

const SlotParts kNone;

}  // namespace

const SlotImage& StagedAdapters::image(size_t slot) const {
  const auto found = std::ranges::lower_bound(images_, slot, {}, &SlotImage::slot);
  check(found != images_.end() && found->slot == slot, ErrorCode::internal, "slot {} has no image", slot);
  return *found;
}

HotSwap::Snapshot HotSwap::snapshot() const {
  Snapshot now{version_, in_slots_, {}, weights_.now(), weights_.next(), fronts_.now(), merged_.now()};
  for (size_t slot = 0; slot < slots_->count(); ++slot)
    now.sizes.push_back(larger(slots_->size(slot), reserved_[slot]));
  return now;
}

StagedAdapters HotSwap::stage(const AdapterSet& adapters, std::optional<int> steps) {
  StagedAdapters wanted = wanted_of(adapters, steps ? acting_at(adapters, 0, *steps) : acting_ever(adapters), true);
  Snapshot now;
  {
    const std::scoped_lock lock(mutex_, next_mutex_);
    now = snapshot();
    check_room(wanted);
    complete(wanted, {});
  }
  // Without the lock, so that the engine need not wait.
  StagedAdapters staged = stage_against(now, std::move(wanted), {});
  merge_ahead(staged);
  return staged;
}

// For all steps: a picture that has begun is not refused.
void HotSwap::check_room(const StagedAdapters& wanted) const {
  const Acting ever = acting_ever(wanted.adapters_);
  if (wanted.acting_ == ever) return merged_.check_room(wanted.merged_);
  merged_.check_room(wanted_of(wanted.adapters_, ever, true).merged_);
}

StagedAdapters HotSwap::stage_locked(const AdapterSet& adapters, Acting acting, bool may_carry,
                                     StagedAdapters&& earlier) const {
  StagedAdapters wanted = wanted_of(adapters, std::move(acting), may_carry);
  complete(wanted, earlier);
  return stage_against(snapshot(), std::move(wanted), std::move(earlier));
}

// Whether the layers that can carry adapters carry these.
bool HotSwap::carried(const AdapterSet& adapters, const PartsBySlot& parts) const {
  const auto beside = [](const AppliedAdapter& applied) {
    return applied.settings.beside || !applied.settings.steps.whole();
  };
  if (std::ranges::any_of(adapters, beside)) return false;
  for (size_t slot = 0; slot < parts.size(); ++slot) {
    if (fronts_.has(slot) && !fronts_.has_room(slot, parts[slot])) return false;
  }
  return true;
}

StagedAdapters HotSwap::wanted_of(const AdapterSet& adapters, Acting acting, bool may_carry) const {
  AdapterParts parts = parts_of(adapters, acting, target());
  StagedAdapters wanted;
  wanted.adapters_ = adapters;
  wanted.acting_ = std::move(acting);
  wanted.carried_ = may_carry && carried(adapters, parts.slots);
  wanted.parts_ = std::move(parts.slots);
  for (auto& [parameter, merged] : parts.parameters) wanted.merged_[parameter].parts = std::move(merged);
  return wanted;
}

// What only the state knows: base values of the parameters that are to be merged, which never change, and whether fronts have
// refused this very set.
void HotSwap::complete(StagedAdapters& wanted, const StagedAdapters& earlier) const {
  if (wanted.adapters_ == active_) wanted.carried_ = wanted.carried_ && active_carried_;
  std::vector<MergedSet::value_type*> missing;
  for (auto& merged : wanted.merged_) {
    const auto have = earlier.merged_.find(merged.first);
    if (have != earlier.merged_.end()) merged.second.base = have->second.base;
    else missing.push_back(&merged);
  }
  const auto find = [&](int64_t i) {
    auto& [parameter, merged] = *missing[static_cast<size_t>(i)];
    merged.base = merged_.base(parameter);
  };
  parallel_for(static_cast<int64_t>(missing.size()), find, UploadLanes::kMost);
}

StagedAdapters HotSwap::stage_against(const Snapshot& now, StagedAdapters&& wanted, StagedAdapters&& earlier) const {
  StagedAdapters staged = std::move(wanted);
  staged.version_ = now.version;
  stage_values(now, std::move(earlier), staged);
  stage_images(now, std::move(earlier), staged);
  return staged;
}

void HotSwap::stage_values(const Snapshot& now, StagedAdapters&& earlier, StagedAdapters& staged) const {
  const auto note_rewritten = [&](size_t parameter) {
    const AdapterTarget::Parameter& place = target().parameters()[parameter];
    if (!place.param->master.defined() && !place.param->front.defined()) return;
    if (const auto slot = target().find_slot(place.component, module_of(place.param->name)))
      staged.rewritten_.insert(*slot);
  };
  std::vector<std::pair<size_t, StoredValues*>> missing;
  for (const auto& [parameter, wanted] : staged.merged_) {
    const auto active = now.merged.find(parameter);
    if (active != now.merged.end() && active->second.parts == wanted.parts) continue;
    const auto old = earlier.values_.find(parameter);
    const bool have = old != earlier.values_.end() && earlier.merged_.at(parameter).parts == wanted.parts;
    StoredValues& values = staged.values_[parameter];
    if (have) values = std::move(old->second);
    else missing.emplace_back(parameter, &values);
    note_rewritten(parameter);
  }
  std::ranges::stable_sort(missing, std::greater{}, [&](const auto& wanted) {  // the small ones fill the last gaps
    return target().parameters()[wanted.first].param->file_shape.count();
  });
  parallel_for(static_cast<int64_t>(missing.size()), [&](int64_t i) {
    const auto& [parameter, values] = missing[static_cast<size_t>(i)];
    *values = merged_values(staged.merged_.at(parameter), target().parameters()[parameter]);
  });
  for (const auto& [parameter, merged] : now.merged) {
    if (!staged.merged_.contains(parameter)) note_rewritten(parameter);
  }
}

const SlotParts& HotSwap::in_slot(const StagedAdapters& staged, size_t slot) const {
  return staged.carried_ && carries(slot) ? kNone : staged.parts_[slot];
}

const SlotParts& HotSwap::in_weight(const StagedAdapters& staged, size_t slot) const {
  return staged.carried_ ? staged.parts_[slot] : kNone;
}

bool HotSwap::weights_change(const SlotContents& now, const StagedAdapters& staged) const {
  for (size_t slot = 0; slot < now.size(); ++slot) {
    if (weights_.has(slot) && (staged.rewritten_.contains(slot) || now[slot] != in_weight(staged, slot))) return true;
  }
  return false;
}

// Whether a slot needs an image, and whether that needs matrices.
std::optional<bool> HotSwap::image_with_matrices(const Snapshot& now, const StagedAdapters& staged, size_t slot,
                                                 bool weights_change) const {
  const SlotParts& parts = staged.parts_[slot];
  if (parts.empty()) return std::nullopt;
  const bool rewritten = staged.rewritten_.contains(slot);
  if (!staged.carried_ || !carries(slot)) {
    if (parts == now.in_slots[slot]) return std::nullopt;
    return !same_matrices(parts, now.in_slots[slot]);
  }
  const bool there =
      weights_.has(slot) ? !weights_change || now.next_weights[slot] == parts : now.fronts[slot] == parts;
  return there && !rewritten ? std::nullopt : std::optional(true);
}

void HotSwap::stage_images(const Snapshot& now, StagedAdapters&& earlier, StagedAdapters& staged) const {
  const bool change = weights_change(now.weights, staged);
  auto old = earlier.images_.begin();  // in the order of slots, as here
  for (size_t slot = 0; slot < staged.parts_.size(); ++slot) {
    while (old != earlier.images_.end() && old->slot < slot) ++old;
    const std::optional<bool> matrices = image_with_matrices(now, staged, slot, change);
    if (!matrices) continue;
    const SlotParts& parts = staged.parts_[slot];
    const SlotSize size = grown(now.sizes[slot], need_of(parts, target().slots()[slot].slot->out));
    const bool have = old != earlier.images_.end() && old->slot == slot && old->parts == parts && old->size == size &&
                      (old->matrices || !*matrices);
    staged.images_.push_back(have ? std::move(*old) : SlotImage{slot, parts, size, *matrices});
  }
  lay_out(staged.images_, target());
}

// What has to wait for a new master is merged when that is written.
void HotSwap::merge_ahead(StagedAdapters& staged) {
  if (!weights_.two_sets()) return;
  const std::lock_guard lock(next_mutex_);
  if (staged.version_ != version_ || !claim_.expired() || !weights_change(weights_.now(), staged)) return;
  staged.version_ = ++version_;  // first: others have staged against what this overwrites, whatever comes of it
  ops_.runtime().beside([&] { staged.merged_ahead_ = write_weights(staged, true); });
  staged.claim_ = std::make_shared<int>();
  claim_ = staged.claim_;
}

}  // namespace fx
