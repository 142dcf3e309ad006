// One slot's operand as one block of memory, so that a swap is one copy a layer: the matrices, then what changes with the
// scales alone.
#pragma once

#include "nn/params.h"

namespace fx {

// Room in one slot.
struct SlotSize {
  int64_t ranks = 0;
  int64_t segments = 0;
  bool fits(const SlotSize& need) const { return need.ranks <= ranks && need.segments <= segments; }
  bool operator==(const SlotSize&) const = default;
};

// Room for `need` in a slot that has `now`: powers of two, at least 16 ranks and 4 segments, never less than now.
SlotSize grown(const SlotSize& now, const SlotSize& need);

struct SlotLayout {
  SlotLayout(const LoraSlot& layer, const SlotSize& size);

  SlotSize size;
  int64_t in, out;
  DType matrices;                           // of a and b: f32 beside a weight of f32, else bf16
  bool in_front;                            // the operand has scales for the weight's front
  size_t a, b, column_scale, scale, segments, count, end;  // bytes from the start of the block

  // The operand in a block of device memory.
  LoraOperand operand(std::byte* block) const;
};

}  // namespace fx
