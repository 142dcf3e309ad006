// t = scale * (x a^T) on tensor cores, for slots of bf16. Blocks of 64 rows and 32 or 128 ranks; there are too few of them
// to fill a GPU, so the blocks of a cluster share the depth, and so do the two halves of a block. Their sums are added in a
// fixed order through shared memory. How the depth is divided depends on rows and depth alone: the bits of t do not depend
// on the capacity of the slot.
#include "backends/cuda/cluster.cuh"
#include "backends/cuda/lora_mma.cuh"
#include "backends/cuda/lora_slot.cuh"

namespace fx::cuda {
namespace {

constexpr int kRows = 64, kDepth = 64, kGroup = 32;
constexpr int kBlockThreads = 256;
constexpr int kPitch = kDepth + 16;  // elements; free of bank conflicts for types of 1, 2 and 4 bytes
constexpr int kChunksPerHalf = kDepth / 16 / 2;

template <class X, int kRanks>
struct Tile {
  static constexpr int kSumPitch = kRanks + 8;
  // As many as the shared memory of a processor holds twice, and that of small ones (99 KiB) once.
  static constexpr int kStages = kRanks == kGroup ? (sizeof(X) == 1   ? 8
                                                     : sizeof(X) == 2 ? 6
                                                                      : 3)
                                                  : (sizeof(X) == 4 ? 2 : 3);

  struct Stage {
    alignas(16) X x[kRows][kPitch];
    alignas(16) bf16 a[kRanks][kPitch];
  };
  union Memory {
    Stage stages[kStages];
    float sums[kRows][kSumPitch];  // afterwards
  };
};

struct Problem {
  Slot<bf16> slot;
  const float* x_scale;
  int64_t rows;
  bf16* t;
  bool wide_x, wide_a;
};

// What one thread copies of each stage: pieces of 16 bytes, always of the same rows.
template <class X, int kRanks>
struct Pieces {
  static constexpr int kPerXRow = kDepth * sizeof(X) / 16, kPerARow = kDepth * sizeof(bf16) / 16;
  static constexpr int kX = kRows * kPerXRow / kBlockThreads, kA = kRanks * kPerARow / kBlockThreads;
  static constexpr int kXStep = kBlockThreads / kPerXRow, kAStep = kBlockThreads / kPerARow;  // rows between them

  const X* x[kX];     // null outside of the matrix
  const bf16* a[kA];  // and for groups of ranks that are not in use

  __device__ Pieces(const Problem& p, const RowsOf<const X>& rows, int64_t first_row, int32_t first_rank,
                    uint32_t groups) {
#pragma unroll
    for (int i = 0; i < kX; ++i) {
      const int64_t row = first_row + x_row(i);
      x[i] = row < p.rows ? rows[row] : nullptr;
    }
#pragma unroll
    for (int i = 0; i < kA; ++i) {
      const int32_t rank = first_rank + a_row(i);
      a[i] = rank < p.slot.capacity && (groups >> a_row(i) / kGroup & 1) ? p.slot.a + rank * p.slot.in : nullptr;
    }
  }
  __device__ static int x_row(int i) { return static_cast<int>(threadIdx.x) / kPerXRow + i * kXStep; }
  __device__ static int a_row(int i) { return static_cast<int>(threadIdx.x) / kPerARow + i * kAStep; }

  __device__ void copy(const Problem& p, typename Tile<X, kRanks>::Stage& stage, int64_t depth) const {
    const int x_column = static_cast<int>(threadIdx.x) % kPerXRow * static_cast<int>(16 / sizeof(X));
    const int a_column = static_cast<int>(threadIdx.x) % kPerARow * static_cast<int>(16 / sizeof(bf16));
    const int64_t x_left = p.slot.in - depth - x_column, a_left = p.slot.in - depth - a_column;
#pragma unroll
    for (int i = 0; i < kX; ++i) {
      copy_piece(&stage.x[x_row(i)][x_column], x[i] + depth + x_column, x[i] ? x_left : 0, p.wide_x);
    }
#pragma unroll
    for (int i = 0; i < kA; ++i) {
      copy_piece(&stage.a[a_row(i)][a_column], a[i] + depth + a_column, a[i] ? a_left : 0, p.wide_a);
    }
  }
};

// This warp's 16 rows and its half of the stage's depth.
template <class X, int kRanks>
__device__ void multiply(const typename Tile<X, kRanks>::Stage& stage, uint32_t groups, float (&sums)[kRanks / 8][4]) {
  const int warp = threadIdx.x / kWarp, row = threadIdx.x % kWarp / 4, four = threadIdx.x % 4 * 4;
  const int x_row = warp % 4 * 16 + row;
  __syncwarp();  // after copies that may have gone different ways
#pragma unroll
  for (int chunk = 0; chunk < kChunksPerHalf; ++chunk) {
    const int depth = (warp / 4 * kChunksPerHalf + chunk) * 16 + four;
    const uint2 x = four_bf16(&stage.x[x_row][depth]), x8 = four_bf16(&stage.x[x_row + 8][depth]);
#pragma unroll
    for (int group = 0; group < kRanks / kGroup; ++group) {
      if ((groups >> group & 1) == 0) continue;
#pragma unroll
      for (int n = group * 4; n < group * 4 + 4; ++n) mma_bf16(sums[n], x, x8, four_bf16(&stage.a[n * 8 + row][depth]));
    }
  }
}

// The sums of both halves of the block in shared memory.
template <int kRanks, int kSumPitch>
__device__ void collect(float (&shared)[kRows][kSumPitch], const float (&sums)[kRanks / 8][4]) {
  const int warp = threadIdx.x / kWarp, row = warp % 4 * 16 + threadIdx.x % kWarp / 4, two = threadIdx.x % 4 * 2;
  for (int half = 1; half >= 0; --half) {
    __syncthreads();
    if (warp / 4 != half) continue;
#pragma unroll
    for (int n = 0; n < kRanks / 8; ++n) {
      auto& low = *reinterpret_cast<float2*>(&shared[row][n * 8 + two]);
      auto& high = *reinterpret_cast<float2*>(&shared[row + 8][n * 8 + two]);
      const float2 other = half == 1 ? float2{0, 0} : low, other8 = half == 1 ? float2{0, 0} : high;
      low = {sums[n][0] + other.x, sums[n][1] + other.y};
      high = {sums[n][2] + other8.x, sums[n][3] + other8.y};
    }
  }
}

// Two neighbours of a row, added up over the cluster.
template <int kSumPitch>
__device__ float2 sum_at(const float (&shared)[kRows][kSumPitch], int row, int column) {
  float2 sum = {0, 0};
#pragma unroll 4
  for (int other = 0; other < static_cast<int>(gridDim.x); ++other) {
    const float* from = gridDim.x > 1 ? shared_of(&shared[row][column], other) : &shared[row][column];
    const float2 share = *reinterpret_cast<const float2*>(from);
    sum = {sum.x + share.x, sum.y + share.y};
  }
  return sum;
}

// This block's share of the tile's rows.
template <int kRanks, int kSumPitch>
__device__ void store_sums(const Problem& p, const float (&shared)[kRows][kSumPitch], int64_t first_row,
                           int32_t first_rank) {
  const int begin = kRows * blockIdx.x / gridDim.x, end = kRows * (blockIdx.x + 1) / gridDim.x;
  for (int i = threadIdx.x; i < (end - begin) * (kRanks / 2); i += kBlockThreads) {
    const int at = begin + i / (kRanks / 2), column = i % (kRanks / 2) * 2;
    const int64_t row = first_row + at;
    const int32_t rank = first_rank + column;
    if (row >= p.rows || rank >= p.slot.capacity) continue;
    float2 sum = sum_at(shared, at, column);
    if (p.x_scale) sum = {sum.x * p.x_scale[row], sum.y * p.x_scale[row]};
    bf16* t = p.t + row * p.slot.capacity + rank;
    const bool second = rank + 1 < p.slot.capacity;
    const float2 scale = {p.slot.scale[rank], second ? p.slot.scale[rank + 1] : 0.0f};
    if (p.slot.capacity % 2 == 0) {
      *reinterpret_cast<uint32_t*>(t) = pack<bf16>(sum.x * scale.x, sum.y * scale.y);
    } else {
      t[0] = from_float<bf16>(sum.x * scale.x);
      if (second) t[1] = from_float<bf16>(sum.y * scale.y);
    }
  }
}

// Grid: (parts of the depth, which are one cluster; tiles of rows; tiles of ranks).
template <class X, int kRanks>
__global__ void __launch_bounds__(kBlockThreads, 2)
    down_kernel(const __grid_constant__ Problem p, const __grid_constant__ RowsOf<const X> x, DeviceFault* fault) {
  using Tile = Tile<X, kRanks>;
  extern __shared__ __align__(16) char shared[];
  auto& memory = *reinterpret_cast<typename Tile::Memory*>(shared);
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * kRows;
  const int32_t first_rank = blockIdx.z * kRanks;
  if (blockIdx.x == 0 && blockIdx.y == 0 && blockIdx.z == 0 && threadIdx.x == 0) p.slot.note_faults(fault);
  __syncwarp();
  const uint32_t groups = p.slot.used_groups(first_rank) & ((1u << kRanks / kGroup) - 1);
  if (groups == 0) return;  // for all threads of the cluster

  const Pieces<X, kRanks> pieces(p, x, first_row, first_rank, groups);
  const int64_t steps = (p.slot.in + kDepth - 1) / kDepth;
  const int64_t begin = steps * blockIdx.x / gridDim.x, end = steps * (blockIdx.x + 1) / gridDim.x;
  for (int i = 0; i < Tile::kStages - 1; ++i) {
    if (begin + i < end) pieces.copy(p, memory.stages[i], (begin + i) * kDepth);
    commit_copies();
  }
  float sums[kRanks / 8][4] = {};
  int now = 0, next = Tile::kStages - 1;
  for (int64_t step = begin; step < end; ++step) {
    wait_copies<Tile::kStages - 2>();
    __syncthreads();  // this stage has come, and all have done with the one before, which is filled next
    const int64_t ahead = step + Tile::kStages - 1;
    if (ahead < end) pieces.copy(p, memory.stages[next], ahead * kDepth);
    commit_copies();
    multiply<X, kRanks>(memory.stages[now], groups, sums);
    now = now + 1 == Tile::kStages ? 0 : now + 1;
    next = next + 1 == Tile::kStages ? 0 : next + 1;
  }
  wait_copies<0>();
  collect<kRanks>(memory.sums, sums);
  __syncthreads();
  if (gridDim.x > 1) {
    arrive_at_cluster();
    wait_for_cluster();
  }
  store_sums<kRanks>(p, memory.sums, first_row, first_rank);
  if (gridDim.x > 1) {  // no block may go while others read its memory
    arrive_at_cluster();
    wait_for_cluster();
  }
}

template <class X, int kRanks>
void launch(const Problem& p, const Tensor& x, DeviceFault* fault, cudaStream_t stream) {
  constexpr int kSharedBytes = sizeof(typename Tile<X, kRanks>::Memory);
  static const bool clusters = prepare_kernel(down_kernel<X, kRanks>, kSharedBytes);
  // At most two blocks for each processor of the largest GPUs of today, and at least two steps for each block.
  constexpr int64_t kBlocks = 264, kLargestCluster = 8, kFewestSteps = 2;
  const int64_t tiles = ceil_div(p.rows, kRows), steps = ceil_div(p.slot.in, kDepth);
  int64_t parts = 1;
  while (clusters && parts < kLargestCluster && 2 * parts * tiles <= kBlocks && 2 * parts * kFewestSteps <= steps) {
    parts *= 2;
  }
  const dim3 grid(static_cast<unsigned>(parts), static_cast<unsigned>(tiles),
                  static_cast<unsigned>(ceil_div(p.slot.capacity, kRanks)));
  launch_clusters(down_kernel<X, kRanks>, grid, kBlockThreads, kSharedBytes, stream, "linear: LoRA down", p,
                  RowsOf<const X>(x), fault);
}

template <class X>
void launch(const Problem& p, const Tensor& x, DeviceFault* fault, cudaStream_t stream) {
  if (p.slot.capacity <= kGroup) launch<X, kGroup>(p, x, fault, stream);
  else launch<X, 4 * kGroup>(p, x, fault, stream);
}

}  // namespace

void lora_down_bf16(const LoraOperand& lora, const LoraInput& input, bf16* t, DeviceFault* fault, cudaStream_t stream) {
  const Tensor& x = input.x;
  const auto in_16_bytes = static_cast<int64_t>(16 / size_of(x.dtype()));
  const Problem p{.slot = Slot<bf16>(lora),
                  .x_scale = input.x_scale,
                  .rows = x.size(0) * x.size(1),
                  .t = t,
                  .wide_x = fits_vectors(in_16_bytes, x),
                  .wide_a = fits_vectors(8, lora.a)};
  if (x.dtype() == DType::f8_e4m3) launch<uint8_t>(p, x, fault, stream);
  else if (x.dtype() == DType::bf16) launch<bf16>(p, x, fault, stream);
  else launch<float>(p, x, fault, stream);
}

}  // namespace fx::cuda
