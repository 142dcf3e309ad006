// HotSwap: room for adapters to come.
#include <algorithm>

#include "lora/apply/hotswap.h"

namespace fx {

void HotSwap::reserve(const std::vector<AdapterSet>& sets) {
  const std::scoped_lock lock(mutex_, next_mutex_);
  std::vector<SlotSize> sizes = snapshot().sizes;
  bool beside = false;  // some set is not carried by the layers that could
  for (const AdapterSet& adapters : sets) {
    const PartsBySlot parts = parts_of(adapters, acting_ever(adapters), target()).slots;
    const bool carry = carried(adapters, parts);
    for (size_t slot = 0; slot < parts.size(); ++slot) {
      if (parts[slot].empty() || (carry && carries(slot))) continue;
      beside = beside || carries(slot);
      sizes[slot] = grown(sizes[slot], need_of(parts[slot], target().slots()[slot].slot->out));
    }
  }
  reserve_locked(sizes, beside);
}

void HotSwap::reserve_rank(Component component, int64_t rank) {
  const std::scoped_lock lock(mutex_, next_mutex_);
  std::vector<SlotSize> sizes = snapshot().sizes;
  for (size_t slot = 0; slot < sizes.size(); ++slot) {
    const AdapterTarget::Slot& place = target().slots()[slot];
    if (place.component != component) continue;
    // The aliases of a fused layer are its parts: to_q, to_k, to_v, and the MLP of a single block.
    int64_t parts = 0;
    for (const ModuleAlias& alias : target().aliases(component, place.slot->module)) parts += alias.rows.whole() ? 0 : 1;
    parts = std::max<int64_t>(parts, 1);
    const int64_t ranks = lora_pitch(rank);
    sizes[slot] = grown(sizes[slot], {parts * ranks, ranks, parts});
  }
  reserve_locked(sizes, false);
}

// `beside`: memory for layers that carry their adapters, too; otherwise they get it when they first need it.
void HotSwap::reserve_locked(const std::vector<SlotSize>& sizes, bool beside) {
  std::vector<AdapterSlots::Growth> growth;
  std::vector<SlotImage> moved;  // what slots have that move
  for (size_t slot = 0; slot < sizes.size(); ++slot) {
    const bool unused = !beside && carries(slot) && slots_->size(slot) == SlotSize{};
    if (unused || sizes[slot] == slots_->size(slot)) continue;
    growth.push_back({slot, sizes[slot]});
    if (!in_slots_[slot].empty()) moved.push_back(SlotImage{slot, in_slots_[slot], sizes[slot], true});
  }
  lay_out(moved, target());
  slots_->grow(growth);
  reserved_ = sizes;
  for (const SlotImage& image : moved) write(image, target().slots()[image.slot]);
  synchronize();
  ++version_;
}

}  // namespace fx
