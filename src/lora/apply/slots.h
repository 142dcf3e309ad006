// The device memory behind the LoRA operands of all layers.
//
// A slot gets memory when its layer is first adapted, with room for a power of two of ranks; from then on its addresses
// stay fixed, whatever adapters come and go, until one needs more room. Then `generation` rises: whoever recorded
// operations (a CUDA graph, RecordingOps) holds old addresses and has to record again, once.
#pragma once

#include <cstdint>
#include <vector>

#include "core/buffer.h"
#include "lora/apply/slot_layout.h"
#include "lora/target.h"

namespace fx {

class AdapterSlots {
 public:
  // `target` must outlive the slots; its layers lose their operands when the slots go.
  explicit AdapterSlots(const AdapterTarget& target);
  ~AdapterSlots();
  AdapterSlots(const AdapterSlots&) = delete;
  AdapterSlots& operator=(const AdapterSlots&) = delete;

  const AdapterTarget& target() const { return *target_; }
  size_t count() const { return memory_.size(); }
  SlotSize size(size_t slot) const { return memory_[slot].size; }
  const LoraOperand& operand(size_t slot) const { return target_->slots()[slot].slot->operand; }

  // Rises by one whenever addresses have changed.
  uint64_t generation() const { return generation_; }
  // Device memory in use.
  size_t bytes() const;

  struct Growth {
    size_t slot;
    SlotSize size;
  };
  // Gives slots new, empty memory. All or nothing: throws out_of_memory with nothing changed. Waits for work in flight
  // on the old memory. On the engine's thread.
  void grow(const std::vector<Growth>& wanted);

 private:
  struct Memory {
    SlotSize size;
    Buffer block;  // as SlotLayout divides it
  };
  Memory make_memory(const AdapterTarget::Slot& slot, const SlotSize& size) const;

  const AdapterTarget* target_;
  std::vector<Memory> memory_;  // one for each slot of the target; empty until needed
  uint64_t generation_ = 0;
};

}  // namespace fx
