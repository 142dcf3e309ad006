// The low-rank term in f32, and the choice between it and the one in bf16. Both products go in tiles of 32 x 32, depth 32
// at a time through shared memory; 256 threads, four rows each.
#include "backends/cuda/cuda_error.h"
#include "backends/cuda/lora_slot.cuh"

namespace fx::cuda {
namespace {

constexpr int kTile = 32;
constexpr int kThreadRows = 8;  // blockDim is (kTile, kThreadRows)
constexpr int kRowsPerThread = kTile / kThreadRows;

// One depth step of a tile: sums[i] += left[row] . right[column].
__device__ void multiply_tiles(const float (&left)[kTile][kTile + 1], const float (&right)[kTile][kTile + 1],
                               float (&sums)[kRowsPerThread]) {
  for (int k = 0; k < kTile; ++k) {
    const float r = right[threadIdx.x][k];
    for (int i = 0; i < kRowsPerThread; ++i) sums[i] += left[threadIdx.y + i * kThreadRows][k] * r;
  }
}

// Grid: (tiles of ranks, tiles of rows).
template <class X>
__global__ void lora_down_kernel(Slot<float> slot, RowsOf<const X> x, int64_t x_rows, float* t, DeviceFault* fault) {
  __shared__ float x_tile[kTile][kTile + 1], a_tile[kTile][kTile + 1];
  const int32_t first_rank = blockIdx.x * kTile;
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * kTile;
  if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0 && threadIdx.y == 0) slot.note_faults(fault);
  if ((slot.used_groups(first_rank) & 1) == 0) return;  // the same for all threads
  float sums[kRowsPerThread] = {};
  for (int64_t begin = 0; begin < slot.in; begin += kTile) {
    const int64_t k = begin + threadIdx.x;
    for (int i = 0; i < kRowsPerThread; ++i) {
      const int at = threadIdx.y + i * kThreadRows;
      const bool inside = k < slot.in;
      x_tile[at][threadIdx.x] = inside && first_row + at < x_rows ? to_float(x[first_row + at][k]) : 0.0f;
      a_tile[at][threadIdx.x] =
          inside && first_rank + at < slot.capacity ? slot.a[(first_rank + at) * slot.in + k] : 0.0f;
    }
    __syncthreads();
    multiply_tiles(x_tile, a_tile, sums);
    __syncthreads();
  }
  const int32_t rank = first_rank + static_cast<int32_t>(threadIdx.x);
  if (rank >= slot.capacity) return;
  for (int i = 0; i < kRowsPerThread; ++i) {
    const int64_t row = first_row + threadIdx.y + i * kThreadRows;
    if (row < x_rows) t[row * slot.capacity + rank] = sums[i] * slot.scale[rank];
  }
}

// Grid: (tiles of columns, tiles of rows).
template <class Y>
__global__ void lora_up_kernel(Slot<float> slot, const float* t, int64_t first_layer_row, RowsOf<Y> y, int64_t y_rows,
                               int64_t columns, LoraWrite write, StepRows gate, DeviceFault* fault) {
  __shared__ float t_tile[kTile][kTile + 1], b_tile[kTile][kTile + 1];
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * kTile;
  const int64_t first_column = static_cast<int64_t>(blockIdx.x) * kTile;
  const int64_t layer_begin = first_layer_row + first_column;  // rows of the layer that this tile's columns are
  const int64_t layer_end = first_layer_row + min(first_column + kTile, columns);
  float sums[kRowsPerThread] = {};
  bool touched = write == LoraWrite::set;
  for (int i = 0; i < slot.used_segments(); ++i) {
    const Segment s = slot.segments[i];
    if (!slot.feeds(s, static_cast<int32_t>(layer_begin), static_cast<int32_t>(layer_end))) continue;
    touched = true;
    for (int32_t begin = 0; begin < s.ranks; begin += kTile) {
      const int32_t rank = s.first_rank + begin + static_cast<int32_t>(threadIdx.x);
      const bool used = begin + static_cast<int32_t>(threadIdx.x) < s.ranks;
      for (int j = 0; j < kRowsPerThread; ++j) {
        const int at = threadIdx.y + j * kThreadRows;
        const int64_t row = first_row + at, layer_row = layer_begin + at;
        const bool fed = layer_row < layer_end && layer_row >= s.first_row && layer_row < s.first_row + s.rows;
        t_tile[at][threadIdx.x] = used && row < y_rows ? t[row * slot.capacity + rank] : 0.0f;
        b_tile[at][threadIdx.x] = used && fed ? *slot.b_at(s, layer_row, rank) : 0.0f;
      }
      __syncthreads();
      multiply_tiles(t_tile, b_tile, sums);
      __syncthreads();
    }
  }
  const int64_t column = first_column + threadIdx.x;
  if (!touched || column >= columns) return;
  for (int i = 0; i < kRowsPerThread; ++i) {
    const int64_t row = first_row + threadIdx.y + i * kThreadRows;
    if (row >= y_rows) continue;
    Y& value = y[row][column];
    if (write == LoraWrite::set) {
      value = from_float<Y>(sums[i]);
    } else {
      const float term = gate.table ? gate.row(row / y.per_batch, fault)[first_layer_row + column] * sums[i] : sums[i];
      value = from_float<Y>(to_float(value) + term);
    }
  }
}

dim3 tiles(int64_t columns, int64_t rows) {
  return dim3(static_cast<unsigned>(ceil_div(columns, kTile)), static_cast<unsigned>(ceil_div(rows, kTile)));
}

}  // namespace

void lora_down_f32(const LoraOperand& lora, const Tensor& x, float* t, DeviceFault* fault, cudaStream_t stream) {
  const int64_t rows = x.size(0) * x.size(1);
  dispatch(x.dtype(), [&](auto type) {
    using X = typename decltype(type)::type;
    lora_down_kernel<X><<<tiles(lora.a.size(0), rows), dim3(kTile, kThreadRows), 0, stream>>>(
        Slot<float>(lora), RowsOf<const X>(x), rows, t, fault);
  });
  check_launch("linear: LoRA down");
}

void lora_up_f32(const LoraOperand& lora, const float* t, int64_t first_row, const Tensor& y, LoraWrite write,
                 const StepVector* gate, DeviceFault* fault, cudaStream_t stream) {
  const int64_t rows = y.size(0) * y.size(1);
  const StepRows gate_rows = gate && gate->defined() ? StepRows(*gate) : StepRows();
  dispatch(y.dtype(), [&](auto type) {
    using Y = typename decltype(type)::type;
    lora_up_kernel<Y><<<tiles(y.size(2), rows), dim3(kTile, kThreadRows), 0, stream>>>(
        Slot<float>(lora), t, first_row, RowsOf<Y>(y), rows, y.size(2), write, gate_rows, fault);
  });
  check_launch("linear: LoRA up");
}

void lora_down(const LoraOperand& lora, const LoraInput& input, void* t, DeviceFault* fault, cudaStream_t stream) {
  if (input.x.count() == 0) return;
  if (lora.a.dtype() == DType::bf16) lora_down_bf16(lora, input, static_cast<bf16*>(t), fault, stream);
  else lora_down_f32(lora, input.x, static_cast<float*>(t), fault, stream);
}

void lora_up(const LoraOperand& lora, const void* t, int64_t first_row, const Tensor& y, LoraWrite write,
             const StepVector* gate, DeviceFault* fault, cudaStream_t stream) {
  if (y.count() == 0) return;
  if (lora.a.dtype() == DType::bf16) {
    lora_up_bf16(lora, static_cast<const bf16*>(t), first_row, y, write, gate, fault, stream);
  } else {
    lora_up_f32(lora, static_cast<const float*>(t), first_row, y, write, gate, fault, stream);
  }
}

}  // namespace fx::cuda
