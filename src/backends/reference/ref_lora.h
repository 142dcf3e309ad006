// The segments of a LoRA slot.
#pragma once

#include <span>

#include "core/error.h"
#include "ops/args.h"

namespace fx::ref {

struct Segment {
  int32_t first_rank, ranks, first_row, rows, first_b;

  // This segment's share of b for a row of the layer: one value for each of its ranks.
  const float* b(const LoraOperand& lora, int64_t row) const {
    return lora.b.f32() + first_b + (row - first_row) * lora_pitch(ranks);
  }
};

// A range of `count` from `first` on, within [0, size).
inline bool within(int64_t first, int64_t count, int64_t size) {
  return first >= 0 && count >= 0 && first + count <= size;
}

inline bool fits(const Segment& s, const LoraOperand& lora) {
  return within(s.first_rank, s.ranks, lora.a.size(0)) && within(s.first_row, s.rows, lora.out) &&
         within(s.first_b, s.rows * lora_pitch(s.ranks), lora.b.size(0)) && s.first_rank % kLoraStep == 0 &&
         s.first_b % kLoraStep == 0;
}

// Those that count, each checked; none without a slot.
inline std::span<const Segment> segments(const LoraOperand& lora) {
  if (!lora.defined()) return {};
  const int32_t count = *lora.count.i32();
  check(0 <= count && count <= lora.segments.size(0), ErrorCode::internal, "{} LoRA segments, expected 0 to {}", count,
        lora.segments.size(0));
  const std::span<const Segment> used(lora.segments.data<Segment>(), static_cast<size_t>(count));
  for (const Segment& s : used) {
    check(fits(s, lora), ErrorCode::internal,
          "LoRA segment of ranks [{}, +{}) and rows [{}, +{}) is outside of slots of {} ranks, {} rows", s.first_rank,
          s.ranks, s.first_row, s.rows, lora.a.size(0), lora.out);
  }
  return used;
}

}  // namespace fx::ref
