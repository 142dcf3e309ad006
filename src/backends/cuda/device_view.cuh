// Tensors as kernels see them, and the launch arithmetic that all kernels share.
#pragma once

#include <cuda_runtime.h>

#include "backends/cuda/device_fault.h"
#include "backends/cuda/device_values.cuh"
#include "ops/args.h"

namespace fx::cuda {

// Notes the first fault; later ones change nothing.
__device__ inline void note_fault(DeviceFault* fault, FaultKind kind, int a, int b, int c = 0, int d = 0, int e = 0,
                                  int f = 0) {
  static_assert(sizeof(FaultKind) == sizeof(int));
  auto* slot = reinterpret_cast<int*>(&fault->kind);
  if (atomicCAS(slot, 0, static_cast<int>(kind)) != 0) return;
  const int values[6] = {a, b, c, d, e, f};
  for (int i = 0; i < 6; ++i) fault->values[i] = values[i];
}

// The rows of a (B, L, C) tensor, counted through the batch.
template <class T>
struct RowsOf {
  T* base = nullptr;
  int64_t per_batch = 1, batch_stride = 0, row_stride = 0;

  RowsOf() = default;
  explicit RowsOf(const Tensor& t)
      : base(t.data<T>()), per_batch(t.size(1)), batch_stride(t.stride(0)), row_stride(t.stride(1)) {}
  // Dense rows in scratch memory.
  RowsOf(T* memory, int64_t rows, int64_t columns) : base(memory), per_batch(rows), row_stride(columns) {}

  __device__ T* operator[](int64_t row) const {
    return base + row / per_batch * batch_stride + row % per_batch * row_stride;
  }
};
using Rows = RowsOf<float>;

// A StepVector: the row of the step that the device counter holds.
struct StepRows {
  const float* table = nullptr;
  const int32_t* step = nullptr;
  int32_t steps = 0;
  int64_t step_stride = 0, batch_stride = 0;

  StepRows() = default;
  explicit StepRows(const StepVector& v)
      : table(v.table.f32()),
        step(v.step.i32()),
        steps(static_cast<int32_t>(v.table.size(0))),
        step_stride(v.table.stride(0)),
        batch_stride(v.table.stride(1)) {}

  // The row of a batch entry; step 0 where the counter is outside of the table, which is noted.
  __device__ const float* row(int64_t batch, DeviceFault* fault) const {
    int32_t now = *step;
    if (now < 0 || now >= steps) {
      if (threadIdx.x == 0) note_fault(fault, FaultKind::step_of_table, now, steps);
      now = 0;
    }
    return table + now * step_stride + batch * batch_stride;
  }
};

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One thread per element, in a grid that walks on beyond its size.
inline constexpr int kThreads = 256;
inline unsigned blocks_for(int64_t elements) {
  constexpr int64_t kMostBlocks = 1 << 16;
  const int64_t blocks = ceil_div(elements, kThreads);
  return static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks);
}
__device__ inline int64_t first_element() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t element_stride() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

}  // namespace fx::cuda
