// y = t b^T for each segment on tensor cores, for slots of bf16. What counts is writing y, so a block has one tile of it
// and many blocks are under way at a time. Ranks come 32 at a time, the next ones while the last are multiplied.
#include "backends/cuda/cuda_error.h"
#include "backends/cuda/lora_mma.cuh"
#include "backends/cuda/lora_slot.cuh"

namespace fx::cuda {
namespace {

constexpr int kRows = 64, kColumns = 128, kRanks = 32;
constexpr int kBlockThreads = 256, kWarps = kBlockThreads / kWarp;
constexpr int kPitch = kRanks + 16;  // elements; free of bank conflicts
constexpr int kTermPitch = kColumns + 4;
constexpr int kWarpRows = 32, kWarpColumns = 32;  // of the tile, in a grid of 2 x 4 warps
constexpr int kPerStore = kColumns / kWarp;       // a warp writes one row at a time

struct Stage {
  alignas(16) bf16 t[kRows][kPitch];
  alignas(16) bf16 b[kColumns][kPitch];
};
union Memory {
  Stage stages[2];
  alignas(16) float terms[kRows][kTermPitch];  // afterwards
};

struct Problem {
  Slot<bf16> slot;
  const bf16* t;
  int64_t first_layer_row, rows, columns;  // where the columns of y begin; of y
  LoraWrite write;
  StepRows gate;
  bool wide;    // rows of t and b begin at multiples of 16 bytes
  bool wide_y;  // in groups of kPerStore
};

using Walk = RankWalk<bf16, kRanks>;

// Zeros behind the segment's ranks, on both sides: what lies there in memory may be anything.
__device__ void copy_chunk(const Problem& p, const Walk& walk, int64_t first_row, int64_t first_column, Stage& stage) {
  constexpr int n = 8, kPieces = kRanks / n;
  const int at = threadIdx.x / kPieces, column = threadIdx.x % kPieces * n;
  const Segment& s = walk.segment();
  const int32_t rank = walk.rank() + column, left = walk.rank_end() - rank;
  const int64_t row = first_row + at;
  copy_piece(&stage.t[at][column], p.t + row * p.slot.capacity + rank, row < p.rows ? left : 0, p.wide);
#pragma unroll
  for (int i = 0; i < kColumns; i += kBlockThreads / kPieces) {
    const int64_t y_column = first_column + at + i, b_row = p.first_layer_row + y_column;
    const bool fed = y_column < p.columns && b_row >= s.first_row && b_row < s.first_row + s.rows;
    copy_piece(&stage.b[at + i][column], p.slot.b_at(s, b_row, rank), fed ? left : 0, p.wide);
  }
}

using Sums = float[kWarpRows / 16][kWarpColumns / 8][4];

__device__ void multiply(const Stage& stage, int32_t ranks, Sums& sums) {
  const int warp = threadIdx.x / kWarp, row = threadIdx.x % kWarp / 4, four = threadIdx.x % 4 * 4;
  const int t_row = warp % 2 * kWarpRows + row, b_row = warp / 2 * kWarpColumns + row;
  __syncwarp();  // after copies that may have gone different ways
#pragma unroll
  for (int depth = 0; depth < kRanks; depth += 16) {
    if (depth >= ranks) break;
    uint2 b[kWarpColumns / 8];
#pragma unroll
    for (int n = 0; n < kWarpColumns / 8; ++n) b[n] = four_bf16(&stage.b[b_row + n * 8][depth + four]);
#pragma unroll
    for (int m = 0; m < kWarpRows / 16; ++m) {
      const uint2 t = four_bf16(&stage.t[t_row + m * 16][depth + four]);
      const uint2 t8 = four_bf16(&stage.t[t_row + m * 16 + 8][depth + four]);
#pragma unroll
      for (int n = 0; n < kWarpColumns / 8; ++n) mma_bf16(sums[m][n], t, t8, b[n]);
    }
  }
}

__device__ void share(const Sums& sums, float (&terms)[kRows][kTermPitch]) {
  const int warp = threadIdx.x / kWarp, row = threadIdx.x % kWarp / 4, two = threadIdx.x % 4 * 2;
#pragma unroll
  for (int m = 0; m < kWarpRows / 16; ++m) {
#pragma unroll
    for (int n = 0; n < kWarpColumns / 8; ++n) {
      float* at = &terms[warp % 2 * kWarpRows + m * 16 + row][warp / 2 * kWarpColumns + n * 8 + two];
      *reinterpret_cast<float2*>(at) = {sums[m][n][0], sums[m][n][1]};
      *reinterpret_cast<float2*>(at + 8 * kTermPitch) = {sums[m][n][2], sums[m][n][3]};
    }
  }
}

template <class Y, int n>
__device__ void write_values(const Problem& p, Y* y, const float* terms, const float* gate) {
  float values[n];
  if (p.write == LoraWrite::add) {
    load<Y, n>(y, values);
#pragma unroll
    for (int i = 0; i < n; ++i) values[i] += gate[i] * terms[i];
  } else {
#pragma unroll
    for (int i = 0; i < n; ++i) values[i] = terms[i];
  }
  store<Y, n>(y, values);
}

template <class Y>
__device__ void write_tile(const Problem& p, const float (&terms)[kRows][kTermPitch], const RowsOf<Y>& y,
                           int64_t first_row, int64_t first_column, DeviceFault* fault) {
  const int warp = threadIdx.x / kWarp, at = threadIdx.x % kWarp * kPerStore;
  const int64_t column = first_column + at, left = p.columns - column;
  float gate[kPerStore] = {1, 1, 1, 1};
  int64_t gate_batch = -1;
  for (int i = warp; i < kRows && first_row + i < p.rows; i += kWarps) {
    const int64_t row = first_row + i;
    int64_t batch = 0;  // a division only where there is something to divide, and a short one
    if (p.rows > y.per_batch) batch = static_cast<uint32_t>(row) / static_cast<uint32_t>(y.per_batch);
    if (p.gate.table && batch != gate_batch) {
      const float* values = p.gate.row(batch, fault) + p.first_layer_row + column;
#pragma unroll
      for (int j = 0; j < kPerStore; ++j) gate[j] = j < left ? values[j] : 0.0f;
      gate_batch = batch;
    }
    Y* out = y.base + batch * y.batch_stride + (row - batch * y.per_batch) * y.row_stride + column;
    if (p.wide_y) {
      if (left > 0) write_values<Y, kPerStore>(p, out, &terms[i][at], gate);
    } else {
#pragma unroll
      for (int j = 0; j < kPerStore; ++j) {
        if (j < left) write_values<Y, 1>(p, out + j, &terms[i][at + j], gate + j);
      }
    }
  }
}

// Grid: (tiles of columns, tiles of rows).
template <class Y>
__global__ void __launch_bounds__(kBlockThreads, 4)
    up_kernel(const __grid_constant__ Problem p, const __grid_constant__ RowsOf<Y> y, DeviceFault* fault) {
  __shared__ Memory memory;
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * kRows;
  const int64_t first_column = static_cast<int64_t>(blockIdx.x) * kColumns;
  Walk walk(p.slot, static_cast<int32_t>(p.first_layer_row + first_column),
            static_cast<int32_t>(p.first_layer_row + min(first_column + kColumns, p.columns)));
  if (walk.done() && p.write == LoraWrite::add) return;  // all threads
  Sums sums = {};
  if (!walk.done()) copy_chunk(p, walk, first_row, first_column, memory.stages[0]);
  commit_copies();
  for (int stage = 0; !walk.done(); stage ^= 1) {
    const int32_t ranks = walk.rank_end() - walk.rank();
    walk.next();
    wait_copies<0>();
    __syncthreads();  // the chunk has come, and all have done with the one before
    if (!walk.done()) copy_chunk(p, walk, first_row, first_column, memory.stages[stage ^ 1]);
    commit_copies();
    multiply(memory.stages[stage], ranks, sums);
  }
  wait_copies<0>();
  __syncthreads();
  share(sums, memory.terms);
  __syncthreads();
  write_tile(p, memory.terms, y, first_row, first_column, fault);
}

}  // namespace

void lora_up_bf16(const LoraOperand& lora, const bf16* t, int64_t first_row, const Tensor& y, LoraWrite write,
                  const StepVector* gate, DeviceFault* fault, cudaStream_t stream) {
  const Slot<bf16> slot(lora);
  const bool wide_t = reinterpret_cast<uintptr_t>(t) % 16 == 0 && slot.capacity % kLoraStep == 0;
  const Problem p{.slot = slot,
                  .t = t,
                  .first_layer_row = first_row,
                  .rows = y.size(0) * y.size(1),
                  .columns = y.size(2),
                  .write = write,
                  .gate = gate && gate->defined() ? StepRows(*gate) : StepRows(),
                  .wide = wide_t && slot.has_wide_b(),
                  .wide_y = fits_vectors(kPerStore, y)};
  const dim3 grid(static_cast<unsigned>(ceil_div(p.columns, kColumns)), static_cast<unsigned>(ceil_div(p.rows, kRows)));
  dispatch(y.dtype(), [&](auto type) {
    using Y = typename decltype(type)::type;
    up_kernel<Y><<<grid, kBlockThreads, 0, stream>>>(p, RowsOf<Y>(y), fault);
  });
  check_launch("linear: LoRA up");
}

}  // namespace fx::cuda
