#include "lora/apply/slots.h"

#include <algorithm>
#include <bit>
#include <set>

namespace fx {
namespace {

constexpr int64_t kLeast = 4;

int64_t room_for(int64_t now, int64_t need) {
  if (need <= now) return now;
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max(need, kLeast))));
}

}  // namespace

SlotSize grown(const SlotSize& now, const SlotSize& need) {
  return {std::max(room_for(now.ranks, need.ranks), kLeast), std::max(room_for(now.segments, need.segments), kLeast)};
}

AdapterSlots::AdapterSlots(const AdapterTarget& target) : target_(&target), memory_(target.slots().size()) {}

AdapterSlots::~AdapterSlots() {
  for (const AdapterTarget::Slot& slot : target_->slots()) slot.slot->operand = {};
}

size_t AdapterSlots::bytes() const {
  size_t total = 0;
  for (const Memory& memory : memory_) {
    for (const Buffer* buffer : {&memory.a, &memory.b, &memory.scale, &memory.segments, &memory.count}) {
      if (buffer->tensor().defined()) total += static_cast<size_t>(buffer->tensor().bytes());
    }
  }
  return total;
}

AdapterSlots::Memory AdapterSlots::make_memory(const AdapterTarget::Slot& slot, const SlotSize& size) const {
  Runtime& runtime = *slot.runtime;
  Memory memory{size,
                Buffer(runtime, DType::f32, {size.ranks, slot.slot->in}),
                Buffer(runtime, DType::f32, {slot.slot->out, size.ranks}),
                Buffer(runtime, DType::f32, {size.ranks}),
                Buffer(runtime, DType::i32, {size.segments, 4}),
                Buffer(runtime, DType::i32, {1})};
  // All of it: what a segment does not cover is multiplied by nothing, but a back-end may read it.
  for (const Buffer* buffer : {&memory.a, &memory.b, &memory.scale, &memory.segments, &memory.count}) {
    runtime.fill_zero(buffer->tensor().raw(), static_cast<size_t>(buffer->tensor().bytes()));
  }
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
    target_->slots()[wanted[i].slot].slot->operand = {.a = memory.a.tensor(),
                                                      .b = memory.b.tensor(),
                                                      .scale = memory.scale.tensor(),
                                                      .segments = memory.segments.tensor(),
                                                      .count = memory.count.tensor()};
  }
  ++generation_;
}

}  // namespace fx
