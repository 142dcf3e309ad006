// One slot's operand as one block of memory: the matrices, then what changes with the scales alone.
#pragma once

#include "nn/params.h"

namespace fx {

// Room in one slot: ranks, blocks of B (LoraOperand::b) that add up to `columns` for each row of the layer, segments.
struct SlotSize {
  int64_t ranks = 0;
  int64_t columns = 0;
  int64_t segments = 0;
  bool operator==(const SlotSize&) const = default;
};

// Of both what is more.
SlotSize larger(const SlotSize& x, const SlotSize& y);

// Room for `need` in a slot that has `now`: powers of two, at least 16 ranks and columns and 4 segments, never less than now.
SlotSize grown(const SlotSize& now, const SlotSize& need);

struct SlotLayout {
  SlotLayout(const LoraSlot& layer, const SlotSize& size);

  SlotSize size;
  int64_t in, out;
  DType matrices;                          // of a and b: f32 beside a weight of f32, else bf16
  size_t a, b, count, segments, scale, end;  // bytes from the start of the block

  // The operand in a block of device memory.
  LoraOperand operand(std::byte* block) const;
};

}  // namespace fx
