#include "lora/apply/slots.h"

#include <algorithm>
#include <set>

namespace fx {
AdapterSlots::AdapterSlots(const AdapterTarget& target) : target_(&target), memory_(target.slots().size()) {}

AdapterSlots::~AdapterSlots() {
  for (const AdapterTarget::Slot& slot : target_->slots()) slot.slot->operand = {};
}

size_t AdapterSlots::bytes() const {
  size_t total = 0;
  for (const Memory& memory : memory_) {
    if (memory.block.tensor().defined()) total += static_cast<size_t>(memory.block.tensor().bytes());
  }
  return total;
}

AdapterSlots::Memory AdapterSlots::make_memory(const AdapterTarget::Slot& slot, const SlotSize& size) const {
  const auto bytes = static_cast<int64_t>(SlotLayout(*slot.slot, size).end);
  Memory memory{size, Buffer(*slot.runtime, DType::u8, {bytes})};
  // No back-end may depend on what no segment covers, and images do not fill it either; but a slot without segments shall not
  // differ from one run to the next.
  slot.runtime->fill_zero(memory.block.tensor().raw(), static_cast<size_t>(bytes));
  return memory;
}

void AdapterSlots::grow(const std::vector<Growth>& wanted) {
  if (wanted.empty()) return;
  std::vector<Memory> fresh;
  std::set<Runtime*> runtimes;
  for (const auto& [slot, size] : wanted) {
    fresh.push_back(make_memory(target_->slots()[slot], size));
    runtimes.insert(target_->slots()[slot].runtime);
  }
  for (Runtime* runtime : runtimes) runtime->synchronize();
  for (size_t i = 0; i < wanted.size(); ++i) {
    Memory& memory = memory_[wanted[i].slot] = std::move(fresh[i]);
    LoraSlot& layer = *target_->slots()[wanted[i].slot].slot;
    layer.operand = SlotLayout(layer, memory.size).operand(memory.block.tensor().data<std::byte>());
  }
  ++generation_;
}

}  // namespace fx
