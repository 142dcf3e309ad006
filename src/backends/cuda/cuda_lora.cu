// Both low-rank products in tiles of 32 x 32, depth 32 at a time through shared memory; 256 threads, four rows each.
#include "backends/cuda/cuda_error.h"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"
#include "backends/cuda/lora.h"

namespace fx::cuda {
namespace {

constexpr int kTile = 32;
constexpr int kThreadRows = 8;  // blockDim is (kTile, kThreadRows)
constexpr int kRowsPerThread = kTile / kThreadRows;

struct Segment {
  int32_t first_rank, ranks, first_row, rows;
};

// The operand as kernels see it.
struct Slot {
  const float *a, *b, *scale;
  const Segment* segments;
  const int32_t* count;
  int32_t max_segments, capacity, rows;  // rows of b
  int64_t in;

  explicit Slot(const LoraOperand& lora)
      : a(lora.a.f32()),
        b(lora.b.f32()),
        scale(lora.scale.f32()),
        segments(lora.segments.data<Segment>()),
        count(lora.count.i32()),
        max_segments(static_cast<int32_t>(lora.segments.size(0))),
        capacity(static_cast<int32_t>(lora.a.size(0))),
        rows(static_cast<int32_t>(lora.b.size(0))),
        in(lora.a.size(1)) {}

  // 0 where the number itself is broken.
  __device__ int32_t used_segments() const { return *count >= 0 && *count <= max_segments ? *count : 0; }
  __device__ bool valid(const Segment& s) const {
    return s.first_rank >= 0 && s.ranks >= 0 && s.ranks <= capacity - s.first_rank && s.first_row >= 0 && s.rows >= 0 &&
           s.rows <= rows - s.first_row;
  }
  __device__ void note_faults(DeviceFault* fault) const {
    if (*count < 0 || *count > max_segments) note_fault(fault, FaultKind::lora_count, *count, max_segments);
    for (int i = 0; i < used_segments(); ++i) {
      const Segment s = segments[i];
      if (valid(s)) continue;
      note_fault(fault, FaultKind::lora_segment, s.first_rank, s.ranks, s.first_row, s.rows, capacity, rows);
    }
  }
  // Does a valid segment use one of the ranks [begin, end)?
  __device__ bool uses(int32_t begin, int32_t end) const {
    for (int i = 0; i < used_segments(); ++i) {
      const Segment s = segments[i];
      if (valid(s) && s.rows > 0 && s.first_rank < end && s.first_rank + s.ranks > begin) return true;
    }
    return false;
  }
};

// One depth step of a tile: sums[i] += left[row] . right[column].
__device__ void multiply_tiles(const float (&left)[kTile][kTile + 1], const float (&right)[kTile][kTile + 1],
                               float (&sums)[kRowsPerThread]) {
  for (int k = 0; k < kTile; ++k) {
    const float r = right[threadIdx.x][k];
    for (int i = 0; i < kRowsPerThread; ++i) sums[i] += left[threadIdx.y + i * kThreadRows][k] * r;
  }
}

// Grid: (tiles of ranks, tiles of rows).
__global__ void lora_down_kernel(Slot slot, Rows x, int64_t x_rows, float* t, DeviceFault* fault) {
  __shared__ float x_tile[kTile][kTile + 1], a_tile[kTile][kTile + 1];
  const int32_t first_rank = blockIdx.x * kTile;
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * kTile;
  if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0 && threadIdx.y == 0) slot.note_faults(fault);
  if (!slot.uses(first_rank, first_rank + kTile)) return;  // the same for all threads
  float sums[kRowsPerThread] = {};
  for (int64_t begin = 0; begin < slot.in; begin += kTile) {
    const int64_t k = begin + threadIdx.x;
    for (int i = 0; i < kRowsPerThread; ++i) {
      const int at = threadIdx.y + i * kThreadRows;
      const bool inside = k < slot.in;
      x_tile[at][threadIdx.x] = inside && first_row + at < x_rows ? x[first_row + at][k] : 0.0f;
      a_tile[at][threadIdx.x] =
          inside && first_rank + at < slot.capacity ? slot.a[(first_rank + at) * slot.in + k] : 0.0f;
    }
    __syncthreads();
    multiply_tiles(x_tile, a_tile, sums);
    __syncthreads();
  }
  const int32_t rank = first_rank + static_cast<int32_t>(threadIdx.x);
  for (int i = 0; i < kRowsPerThread; ++i) {
    const int64_t row = first_row + threadIdx.y + i * kThreadRows;
    if (row < x_rows && rank < slot.capacity) t[row * slot.capacity + rank] = sums[i];
  }
}

// Grid: (tiles of columns, tiles of rows).
__global__ void lora_up_kernel(Slot slot, const float* t, int64_t first_b_row, Rows y, int64_t y_rows,
                               int64_t columns) {
  __shared__ float t_tile[kTile][kTile + 1], b_tile[kTile][kTile + 1];
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * kTile;
  const int64_t first_column = static_cast<int64_t>(blockIdx.x) * kTile;
  const int64_t b_begin = first_b_row + first_column;  // rows of b that this tile's columns are
  const int64_t b_end = first_b_row + min(first_column + kTile, columns);
  float sums[kRowsPerThread] = {};
  bool touched = false;
  for (int i = 0; i < slot.used_segments(); ++i) {
    const Segment s = slot.segments[i];
    if (!slot.valid(s) || s.ranks == 0 || s.first_row >= b_end || s.first_row + s.rows <= b_begin) continue;
    touched = true;
    for (int32_t begin = 0; begin < s.ranks; begin += kTile) {
      const int32_t rank = s.first_rank + begin + static_cast<int32_t>(threadIdx.x);
      const bool used = begin + static_cast<int32_t>(threadIdx.x) < s.ranks;
      for (int j = 0; j < kRowsPerThread; ++j) {
        const int at = threadIdx.y + j * kThreadRows;
        const int64_t row = first_row + at, b_row = b_begin + at;
        const bool fed = b_row < b_end && b_row >= s.first_row && b_row < s.first_row + s.rows;
        t_tile[at][threadIdx.x] = used && row < y_rows ? t[row * slot.capacity + rank] * slot.scale[rank] : 0.0f;
        b_tile[at][threadIdx.x] = used && fed ? slot.b[b_row * slot.capacity + rank] : 0.0f;
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
    if (row < y_rows) y[row][column] += sums[i];
  }
}

dim3 tiles(int64_t columns, int64_t rows) {
  return dim3(static_cast<unsigned>(ceil_div(columns, kTile)), static_cast<unsigned>(ceil_div(rows, kTile)));
}

}  // namespace

void lora_down(const LoraOperand& lora, const Tensor& x, float* t, DeviceFault* fault, cudaStream_t stream) {
  const int64_t rows = x.size(0) * x.size(1);
  lora_down_kernel<<<tiles(lora.a.size(0), rows), dim3(kTile, kThreadRows), 0, stream>>>(Slot(lora), Rows(x), rows, t,
                                                                                         fault);
  check_launch("linear: LoRA down");
}

void lora_up(const LoraOperand& lora, const float* t, int64_t first_row, const Tensor& y, cudaStream_t stream) {
  const int64_t rows = y.size(0) * y.size(1);
  lora_up_kernel<<<tiles(y.size(2), rows), dim3(kTile, kThreadRows), 0, stream>>>(Slot(lora), t, first_row, Rows(y),
                                                                                  rows, y.size(2));
  check_launch("linear: LoRA up");
}

}  // namespace fx::cuda
