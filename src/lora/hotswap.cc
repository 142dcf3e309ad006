#include "lora/hotswap.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "core/error.h"

namespace fx {
namespace {

constexpr int kSegmentFields = 4;  // first rank, ranks, first row, rows

bool same_patches(const std::vector<SlotPart>& x, const std::vector<SlotPart>& y) {
  return std::ranges::equal(x, y, {}, &SlotPart::patch, &SlotPart::patch);
}

SlotSize need_of(const std::vector<SlotPart>& parts) {
  SlotSize need{0, static_cast<int64_t>(parts.size())};
  for (const SlotPart& part : parts) need.ranks += part.patch->rank();
  return need;
}

void copy_in(Runtime& runtime, const Tensor& target, const void* source, size_t bytes, SwapReport& report) {
  if (bytes > 0) runtime.copy(target.raw(), source, bytes, CopyKind::host_to_device);
  report.bytes += bytes;
}

}  // namespace

HotSwap::HotSwap(AdapterSlots& slots) : slots_(&slots), active_parts_(slots.count()) {}

HotSwap::PartsBySlot HotSwap::parts_of(const AdapterSet& adapters, const Acting& acting) const {
  const AdapterTarget& target = slots_->target();
  PartsBySlot parts(slots_->count());
  for (size_t i = 0; i < adapters.size(); ++i) {
    const AppliedAdapter& applied = adapters[i];
    check(applied.adapter != nullptr, ErrorCode::invalid_argument, "an applied adapter is missing");
    const Adapter& adapter = *applied.adapter;
    validate(applied.settings, adapter.name);
    for (const Patch& patch : adapter.patches) {
      const auto slot = target.find_slot(patch.component, patch.module);
      const LoraSlot* layer = slot ? target.slots()[*slot].slot : nullptr;
      const bool fits = layer && layer->in == patch.in() && patch.rows.begin >= 0 && patch.rows.count > 0 &&
                        patch.rows.begin + patch.rows.count <= layer->out;
      check(fits, ErrorCode::invalid_argument, "adapter {}: its part for {} of the {} was read for another model",
            adapter.name, patch.module, name(patch.component));
      const bool off = patch.component == Component::transformer ? !acting[i] : applied.settings.steps.empty();
      parts[*slot].push_back({&patch, off ? 0.0f : patch.scale * applied.settings.scale_for(patch.component)});
    }
  }
  return parts;
}

HotSwap::Snapshot HotSwap::snapshot() const {
  Snapshot now{.version = version_, .parts = active_parts_};
  for (size_t slot = 0; slot < slots_->count(); ++slot) now.sizes.push_back(slots_->size(slot));
  return now;
}

StagedAdapters HotSwap::stage(const AdapterSet& adapters) const {
  Snapshot now;
  {
    const std::lock_guard lock(mutex_);
    now = snapshot();
  }
  return stage_against(now, adapters, acting_ever(adapters));  // without the lock, so that the engine need not wait
}

StagedAdapters HotSwap::stage_against(const Snapshot& now, const AdapterSet& adapters, const Acting& acting) const {
  StagedAdapters staged;
  staged.adapters_ = adapters;
  staged.acting_ = acting;
  staged.version_ = now.version;
  PartsBySlot parts = parts_of(adapters, acting);
  for (size_t slot = 0; slot < parts.size(); ++slot) {
    if (parts[slot] == now.parts[slot]) continue;
    if (parts[slot].empty()) {
      staged.cleared_.push_back(slot);
      continue;
    }
    const bool matrices = !same_patches(parts[slot], now.parts[slot]);
    const SlotSize size = grown(now.sizes[slot], need_of(parts[slot]));
    staged.images_.push_back(image_of(slot, std::move(parts[slot]), size, matrices));
  }
  return staged;
}

StagedAdapters::Image HotSwap::image_of(size_t slot, std::vector<SlotPart> parts, const SlotSize& size,
                                        bool matrices) const {
  const LoraSlot& layer = *slots_->target().slots()[slot].slot;
  StagedAdapters::Image image{.slot = slot, .parts = std::move(parts), .size = size, .matrices = matrices};
  image.scale.resize(size.ranks, 0.0f);
  if (matrices) image.b.resize(layer.out * size.ranks, 0.0f);
  for (const auto& [patch, scale] : image.parts) {
    const int64_t rank = patch->rank();
    std::fill_n(image.scale.begin() + image.ranks, rank, scale);
    if (matrices) {
      image.a.resize((image.ranks + rank) * layer.in);
      patch->a.read_rows(0, rank, image.a.data() + image.ranks * layer.in);
      for (int64_t row = 0; row < patch->rows.count; ++row) {
        patch->b.read_rows(row, 1, image.b.data() + (patch->rows.begin + row) * size.ranks + image.ranks);
      }
    }
    // A part without effect is left out, so that scale 0 is no adapter at all, bitwise and in time.
    if (scale != 0) {
      for (const int64_t field : {image.ranks, rank, patch->rows.begin, patch->rows.count}) {
        image.segments.push_back(static_cast<int32_t>(field));
      }
    }
    image.ranks += rank;
  }
  image.count = static_cast<int32_t>(image.segments.size() / kSegmentFields);
  return image;
}

SwapReport HotSwap::publish(StagedAdapters&& staged) {
  const std::lock_guard lock(mutex_);
  return publish_locked(std::move(staged));
}

HotSwap::Acting HotSwap::acting_ever(const AdapterSet& adapters) {
  Acting acting;
  for (const AppliedAdapter& applied : adapters) acting.push_back(!applied.settings.steps.empty());
  return acting;
}

HotSwap::Acting HotSwap::acting_at(const AdapterSet& adapters, int step, int steps) {
  Acting acting;
  for (const AppliedAdapter& applied : adapters) acting.push_back(applied.settings.steps.contains(step, steps));
  return acting;
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
  return publish_locked(stage_against(snapshot(), active_, acting_at(active_, step, steps)));
}

SwapReport HotSwap::publish_locked(StagedAdapters&& staged_before) {
  const auto start = std::chrono::steady_clock::now();
  StagedAdapters staged = std::move(staged_before);
  if (staged.version_ != version_)
    staged = stage_against(snapshot(), AdapterSet(staged.adapters_), Acting(staged.acting_));
  SwapReport report;
  report.grew = grow_for(staged.images_);
  for (const StagedAdapters::Image& image : staged.images_) write(image, report);
  for (const size_t slot : staged.cleared_) clear(slot, report);
  synchronize();  // the host images go now
  for (StagedAdapters::Image& image : staged.images_) active_parts_[image.slot] = std::move(image.parts);
  for (const size_t slot : staged.cleared_) active_parts_[slot].clear();
  active_ = std::move(staged.adapters_);
  ++version_;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

bool HotSwap::grow_for(const std::vector<StagedAdapters::Image>& images) {
  std::vector<AdapterSlots::Growth> growth;
  for (const StagedAdapters::Image& image : images) {
    if (image.size != slots_->size(image.slot)) growth.push_back({image.slot, image.size});
  }
  slots_->grow(growth);
  return !growth.empty();
}

void HotSwap::write(const StagedAdapters::Image& image, SwapReport& report) {
  const AdapterTarget::Slot& slot = slots_->target().slots()[image.slot];
  const LoraOperand& operand = slot.slot->operand;
  Runtime& runtime = *slot.runtime;
  copy_in(runtime, operand.a, image.a.data(), image.a.size() * sizeof(float), report);
  copy_in(runtime, operand.b, image.b.data(), image.b.size() * sizeof(float), report);
  copy_in(runtime, operand.scale, image.scale.data(), image.scale.size() * sizeof(float), report);
  copy_in(runtime, operand.segments, image.segments.data(), image.segments.size() * sizeof(int32_t), report);
  copy_in(runtime, operand.count, &image.count, sizeof(image.count), report);
  ++(image.matrices ? report.slots_written : report.slots_rescaled);
  note_change(slot.component, report);
}

void HotSwap::clear(size_t index, SwapReport& report) {
  const AdapterTarget::Slot& slot = slots_->target().slots()[index];
  const Tensor& count = slot.slot->operand.count;
  slot.runtime->fill_zero(count.raw(), static_cast<size_t>(count.bytes()));
  ++report.slots_cleared;
  note_change(slot.component, report);
}

void HotSwap::note_change(Component component, SwapReport& report) {
  (component == Component::transformer ? report.transformer : report.text_encoders) = true;
}

void HotSwap::synchronize() {
  std::set<Runtime*> runtimes;
  for (const AdapterTarget::Slot& slot : slots_->target().slots()) runtimes.insert(slot.runtime);
  for (Runtime* runtime : runtimes) runtime->synchronize();
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
    const PartsBySlot parts = parts_of(adapters, acting_ever(adapters));
    for (size_t slot = 0; slot < parts.size(); ++slot) {
      if (!parts[slot].empty()) sizes[slot] = grown(sizes[slot], need_of(parts[slot]));
    }
  }
  std::vector<AdapterSlots::Growth> growth;
  std::vector<StagedAdapters::Image> images;  // what is active in slots that move
  for (size_t slot = 0; slot < sizes.size(); ++slot) {
    if (sizes[slot] == slots_->size(slot)) continue;
    growth.push_back({slot, sizes[slot]});
    if (!active_parts_[slot].empty()) images.push_back(image_of(slot, active_parts_[slot], sizes[slot], true));
  }
  slots_->grow(growth);
  SwapReport report;
  for (const StagedAdapters::Image& image : images) write(image, report);
  synchronize();
  ++version_;
}

}  // namespace fx
