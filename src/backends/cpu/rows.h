// Rows of (B, L, C) tensors under one running index b * L + l, with any strides of B and L.
#pragma once

#include "core/error.h"
#include "ops/args.h"

namespace fx {

struct Rows {
  float* base = nullptr;
  int64_t per_batch = 1, batch_stride = 0, row_stride = 0;

  Rows() = default;
  explicit Rows(const Tensor& t)
      : base(t.f32()), per_batch(t.size(1)), batch_stride(t.stride(0)), row_stride(t.stride(1)) {}
  float* operator[](int64_t row) const { return base + row / per_batch * batch_stride + row % per_batch * row_stride; }
  // Addresses of `count` consecutive rows, plus `offset` each; for inner loops, where divisions would show.
  template <class Pointer>
  void addresses(int64_t first, int count, int64_t offset, Pointer* out) const {
    int64_t batch = first / per_batch, row = first % per_batch;
    for (int i = 0; i < count; ++i, ++row) {
      if (row == per_batch) row = 0, ++batch;
      out[i] = base + batch * batch_stride + row * row_stride + offset;
    }
  }
};

// The table rows of the current step: one per batch entry.
struct StepRows {
  const float* base = nullptr;
  int64_t batch_stride = 0;

  StepRows() = default;
  explicit StepRows(const StepVector& v) : batch_stride(v.table.stride(1)) {
    const int32_t step = *v.step.i32();
    check(0 <= step && step < v.table.size(0), ErrorCode::internal, "step {} is outside of a table of {} steps", step,
          v.table.size(0));
    base = v.table.f32() + step * v.table.stride(0);
  }
  const float* operator[](int64_t batch) const { return base + batch * batch_stride; }
};

}  // namespace fx
