// The segments of a LoRA slot.
#pragma once

#include <span>

#include "core/error.h"
#include "ops/args.h"

namespace fx::ref {

struct Segment {
  int32_t first_rank, ranks, first_row, rows;
};

// Those that count, each checked; none without a slot.
inline std::span<const Segment> segments(const LoraOperand& lora) {
  if (!lora.defined()) return {};
  const int32_t count = *lora.count.i32();
  check(0 <= count && count <= lora.segments.size(0), ErrorCode::internal, "{} LoRA segments, expected 0 to {}", count,
        lora.segments.size(0));
  const std::span<const Segment> used(lora.segments.data<Segment>(), static_cast<size_t>(count));
  for (const Segment& s : used) {
    check(s.first_rank >= 0 && s.ranks >= 0 && s.first_rank + s.ranks <= lora.a.size(0) && s.first_row >= 0 &&
              s.rows >= 0 && s.first_row + s.rows <= lora.b.size(0),
          ErrorCode::internal,
          "LoRA segment of ranks [{}, +{}) and rows [{}, +{}) is outside of slots of {} ranks, {} rows", s.first_rank,
          s.ranks, s.first_row, s.rows, lora.a.size(0), lora.b.size(0));
  }
  return used;
}

}  // namespace fx::ref
