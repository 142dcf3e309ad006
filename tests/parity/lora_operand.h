// The low-rank operand of a case: "a", "b", "scale", "segments" and "count". What the segments do not use is NaN.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/args.h"
#include "parity/operands.h"

namespace fx::test {

struct LoraShape {
  int64_t capacity = 0, in = 0;
  std::vector<int32_t> segments;  // four numbers each: first rank, ranks, first row, rows
  float deviation = 1;            // of b
  DType dtype = DType::bf16;      // where values are narrow
};

// Elements [first, first + count).
inline void spoil(const Tensor& t, int64_t first, int64_t count) {
  const std::vector<float> nan(static_cast<size_t>(count), NAN);
  convert_from_f32(nan.data(), t.dtype(), t.data<uint8_t>() + first * static_cast<int64_t>(size_of(t.dtype())),
                   nan.size());
}

// Five numbers for each segment. Before each block of b lies something that belongs to none.
inline std::vector<int32_t> with_blocks(const std::vector<int32_t>& segments) {
  std::vector<int32_t> placed;
  int64_t first = 0;
  for (size_t s = 0; s < segments.size(); s += 4) {
    first += kLoraStep;
    placed.insert(placed.end(), &segments[s], &segments[s] + 4);
    placed.push_back(static_cast<int32_t>(first));
    first += segments[s + 3] * lora_pitch(segments[s + 1]);
  }
  return placed;
}

inline void make_a_and_scale(Operands& o, const LoraShape& lora) {
  o.as(lora.dtype).input("a", {lora.capacity, lora.in}, 1 / std::sqrt(static_cast<float>(lora.in)));
  o.as(DType::f32).input("scale", {lora.capacity});
  std::vector<bool> used(static_cast<size_t>(lora.capacity));
  for (size_t s = 0; s < lora.segments.size(); s += 4) {
    if (lora.segments[s + 3] > 0) std::fill_n(used.begin() + lora.segments[s], lora.segments[s + 1], true);
  }
  for (int64_t rank = 0; rank < lora.capacity; ++rank) {
    if (used[static_cast<size_t>(rank)]) continue;
    spoil(o["a"], rank * lora.in, lora.in);
    spoil(o["scale"], rank, 1);
  }
}

inline void make_b(Operands& o, const LoraShape& lora, const std::vector<int32_t>& segments) {
  int64_t elements = kLoraStep;
  for (size_t s = 0; s < segments.size(); s += 5)
    elements = segments[s + 4] + segments[s + 3] * lora_pitch(segments[s + 1]);
  const Tensor& b = o.as(lora.dtype).input("b", {elements}, lora.deviation);
  spoil(b, 0, kLoraStep);
  for (size_t s = 0; s < segments.size(); s += 5) {
    const int64_t ranks = segments[s + 1], rows = segments[s + 3], first = segments[s + 4], pitch = lora_pitch(ranks);
    spoil(b, first - kLoraStep, kLoraStep);
    for (int64_t row = 0; row < rows; ++row) spoil(b, first + row * pitch + ranks, pitch - ranks);
  }
}

inline void make_lora(Operands& o, const LoraShape& lora) {
  make_a_and_scale(o, lora);
  std::vector<int32_t> segments = with_blocks(lora.segments);
  make_b(o, lora, segments);
  const size_t count = segments.size() / 5, room = std::max<size_t>(count, 4);
  segments.resize(5 * room, -77);  // what lies behind `count` must not be read
  o.integers("segments", {static_cast<int64_t>(room), 5}, segments);
  o.integers("count", {1}, {static_cast<int32_t>(count)});
}

// Of a layer of `out` rows.
inline LoraOperand lora_operand(const Operands& o, int64_t out) {
  return {o["a"], o["b"], o["scale"], o["segments"], o["count"], out};
}

}  // namespace fx::test
