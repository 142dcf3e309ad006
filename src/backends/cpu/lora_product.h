// The low-rank part of a linear layer, as it joins the main product: t = x a^T is computed once for all rows; then
// every tile adds t (b * scale)^T for the segments that touch its columns. With no adapter nothing happens.
#pragma once

#include <span>

#include "backends/cpu/kernels/kernels.h"
#include "ops/args.h"

namespace fx {

struct LoraSegment {
  int32_t first_rank, ranks, first_row, rows, first_b;

  bool has(int64_t rank) const { return rows > 0 && rank >= first_rank && rank < first_rank + ranks; }
};

class LoraProduct {
 public:
  // Reads count and segments. Throws Error(internal) if they do not fit the slots.
  explicit LoraProduct(const LoraOperand& operand);

  bool active() const { return last_rank_ > first_rank_; }
  // The ranks in use lie in [first_rank, last_rank).
  int64_t first_rank() const { return first_rank_; }
  int64_t used_ranks() const { return last_rank_ - first_rank_; }
  const float* a() const { return operand_.a.f32() + first_rank_ * operand_.a.size(1); }

  // Sets the columns of t to zero that no segment uses: those of a may have been anything.
  void clear_gaps(int64_t rows, float* t) const;
  // Packs b * scale for the columns [first, first + count), all used ranks, zero outside of the segments.
  // Returns false, leaving the panel alone, if no segment touches these columns.
  bool pack(const Kernels& kernels, int64_t first, int count, float* panel) const;

 private:
  const LoraOperand& operand_;
  std::span<const LoraSegment> segments_;
  int64_t first_rank_ = 0, last_rank_ = 0;
};

}  // namespace fx
