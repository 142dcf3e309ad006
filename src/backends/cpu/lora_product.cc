#include "backends/cpu/lora_product.h"

#include <algorithm>

#include "core/error.h"

namespace fx {

LoraProduct::LoraProduct(const LoraOperand& operand) : operand_(operand) {
  if (!operand.defined()) return;
  const int32_t count = *operand.count.i32();
  check(0 <= count && count <= operand.segments.size(0), ErrorCode::internal, "{} LoRA segments, expected 0 to {}",
        count, operand.segments.size(0));
  segments_ = {operand.segments.data<LoraSegment>(), static_cast<size_t>(count)};
  const int64_t capacity = operand.a.size(0), rows = operand.b.size(0);
  int64_t first = capacity, last = 0;
  for (const LoraSegment& s : segments_) {
    check(s.first_rank >= 0 && s.ranks >= 0 && s.first_rank + s.ranks <= capacity && s.first_row >= 0 && s.rows >= 0 &&
              s.first_row + s.rows <= rows,
          ErrorCode::internal,
          "LoRA segment of ranks [{}, +{}) and rows [{}, +{}) is outside of slots of {} ranks, {} rows", s.first_rank,
          s.ranks, s.first_row, s.rows, capacity, rows);
    if (s.ranks == 0 || s.rows == 0) continue;
    first = std::min<int64_t>(first, s.first_rank);
    last = std::max<int64_t>(last, s.first_rank + s.ranks);
  }
  if (first < last) first_rank_ = first, last_rank_ = last;
}

bool LoraProduct::pack(const Kernels& kernels, int64_t first, int count, float* panel) const {
  const int64_t capacity = operand_.a.size(0), width = kernels.tile_columns;
  bool touched = false;
  for (const LoraSegment& s : segments_) {
    const int64_t begin = std::max<int64_t>(first, s.first_row);
    const int64_t end = std::min<int64_t>(first + count, s.first_row + s.rows);
    if (begin >= end || s.ranks == 0) continue;
    if (!touched) std::fill_n(panel, used_ranks() * width, 0.0f);
    touched = true;
    for (int64_t rank = s.first_rank; rank < s.first_rank + s.ranks; ++rank) {
      const float scale = operand_.scale.f32()[rank];
      float* row = panel + (rank - first_rank_) * width;
      for (int64_t n = begin; n < end; ++n) row[n - first] += scale * operand_.b.f32()[n * capacity + rank];
    }
  }
  return touched;
}

}  // namespace fx
