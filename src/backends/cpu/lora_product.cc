#include "backends/cpu/lora_product.h"

#include <algorithm>

#include "core/error.h"

namespace fx {
namespace {

// A range of `count` from `first` on, within [0, size).
bool within(int64_t first, int64_t count, int64_t size) { return first >= 0 && count >= 0 && first + count <= size; }

bool fits(const LoraSegment& s, const LoraOperand& lora) {
  return within(s.first_rank, s.ranks, lora.a.size(0)) && within(s.first_row, s.rows, lora.out) &&
         within(s.first_b, s.rows * lora_pitch(s.ranks), lora.b.size(0)) && s.first_rank % kLoraStep == 0 &&
         s.first_b % kLoraStep == 0;
}

}  // namespace

LoraProduct::LoraProduct(const LoraOperand& operand) : operand_(operand) {
  if (!operand.defined()) return;
  const int32_t count = *operand.count.i32();
  check(0 <= count && count <= operand.segments.size(0), ErrorCode::internal, "{} LoRA segments, expected 0 to {}",
        count, operand.segments.size(0));
  segments_ = {operand.segments.data<LoraSegment>(), static_cast<size_t>(count)};
  int64_t first = operand.a.size(0), last = 0;
  for (const LoraSegment& s : segments_) {
    check(fits(s, operand), ErrorCode::internal,
          "LoRA segment of ranks [{}, +{}) and rows [{}, +{}) is outside of slots of {} ranks, {} rows", s.first_rank,
          s.ranks, s.first_row, s.rows, operand.a.size(0), operand.out);
    if (s.ranks == 0 || s.rows == 0) continue;
    first = std::min<int64_t>(first, s.first_rank);
    last = std::max<int64_t>(last, s.first_rank + s.ranks);
  }
  if (first < last) first_rank_ = first, last_rank_ = last;
}

void LoraProduct::clear_gaps(int64_t rows, float* t) const {
  for (int64_t rank = first_rank_; rank < last_rank_; ++rank) {
    if (std::ranges::any_of(segments_, [rank](const LoraSegment& s) { return s.has(rank); })) continue;
    for (int64_t row = 0; row < rows; ++row) t[row * used_ranks() + rank - first_rank_] = 0;
  }
}

bool LoraProduct::pack(const Kernels& kernels, int64_t first, int count, float* panel) const {
  const int64_t width = kernels.tile_columns;
  bool touched = false;
  for (const LoraSegment& s : segments_) {
    const int64_t begin = std::max<int64_t>(first, s.first_row);
    const int64_t end = std::min<int64_t>(first + count, s.first_row + s.rows);
    if (begin >= end || s.ranks == 0) continue;
    if (!touched) std::fill_n(panel, used_ranks() * width, 0.0f);
    touched = true;
    const float* scale = operand_.scale.f32() + s.first_rank;
    float* columns = panel + (s.first_rank - first_rank_) * width;
    for (int64_t n = begin; n < end; ++n) {
      const float* b = operand_.b.f32() + s.first_b + (n - s.first_row) * lora_pitch(s.ranks);
      for (int64_t r = 0; r < s.ranks; ++r) columns[r * width + n - first] += scale[r] * b[r];
    }
  }
  return touched;
}

}  // namespace fx
