// What one block of merge_kernel.cuh does with its tiles: products, values, scales of rows.
#pragma once

#include "backends/cuda/cluster.cuh"
#include "backends/cuda/lora_mma.cuh"
#include "backends/cuda/lora_slot.cuh"

namespace fx::cuda::merging {

constexpr int kBlockThreads = 256, kWarps = kBlockThreads / kWarp;
constexpr int kUnit = 32;            // columns that a warp works on at a time, in all rows
constexpr int kRanks = 32;           // in shared memory at a time
constexpr int kPitch = kRanks + 16;  // elements; free of bank conflicts
constexpr int kTileRows = 16;        // of one tensor core product
constexpr int kTileBytes = kTileRows * kUnit * static_cast<int>(sizeof(bf16));

using Walk = RankWalk<bf16, kRanks>;

struct Problem {
  Slot<bf16> slot;
  const bf16* base;
  void* weight;
  float* weight_scale;
  int32_t out, in;
  // Of the base and of the weight.
  __device__ int64_t at(int row, int column) const { return static_cast<int64_t>(row) * in + column; }
};

template <int kTiles>
struct Shared {
  static constexpr int kRows = kTiles * kTileRows;
  alignas(16) bf16 b[kRows][kPitch];  // times scale
  float of_warp[kWarps][kRows];
  float largest[kRows], inverse[kRows];
  bool fed[kRows];
};

// A block's part of the columns, in units.
struct Part {
  int first, units;
  __device__ explicit Part(int in) {
    const int all = (in + kUnit - 1) / kUnit, blocks = gridDim.x, most = (all + blocks - 1) / blocks;
    first = most * static_cast<int>(blockIdx.x);
    units = max(min(all - first, most), 0);
  }
};

// Of what a lane holds: columns [8t, 8t + 8) of a unit, in two rows of each tile.
struct Lane {
  int lane = threadIdx.x % kWarp, row = lane / 4, t = lane % 4;
  __device__ int column(const Part& part, int unit) const { return (part.first + unit) * kUnit + 8 * t; }
};

template <int kTiles>
__device__ uint4* packet(char* tiles, const Lane& lane, int unit, int half_tile) {
  return reinterpret_cast<uint4*>(tiles) + (unit * (2 * kTiles) + half_tile) * kWarp + lane.lane;
}

// Until the next unit of this warp is there, with `later` ones asked for after it.
__device__ void wait_unit(int later) {
  switch (later) {
    case 0: return wait_copies<0>();
    case 1: return wait_copies<1>();
    case 2: return wait_copies<2>();
    case 3: return wait_copies<3>();
    case 4: return wait_copies<4>();
    default: return wait_copies<5>();
  }
}

// One thread scales eight ranks of one row. Zeros behind the segment's ranks, and where the row is not its own.
template <int kTiles>
__device__ void stage_b(const Problem& p, const Walk& walk, int first_row, bf16 (&b)[kTiles * kTileRows][kPitch]) {
  constexpr int n = 8, kPieces = kRanks / n;
  static_assert(kTiles * kTileRows * kPieces <= kBlockThreads);
  const int at = threadIdx.x / kPieces, column = threadIdx.x % kPieces * n, row = first_row + at;
  if (at >= kTiles * kTileRows) return;
  const Segment& s = walk.segment();
  const int32_t rank = walk.rank() + column;
  uint32_t words[n / 2] = {};
  if (row >= s.first_row && row < s.first_row + s.rows && rank < walk.rank_end()) {
    load_words(p.slot.b_at(s, row, rank), words);
    const auto scaled = [&](float value, int i) {
      return rank + i < walk.rank_end() ? value * p.slot.scale[rank + i] : 0.0f;
    };
#pragma unroll
    for (int i = 0; i < n / 2; ++i) {
      const float2 pair = unpack<bf16>(words[i]);
      words[i] = pack<bf16>(scaled(pair.x, 2 * i), scaled(pair.y, 2 * i + 1));
    }
  }
  *reinterpret_cast<uint4*>(&b[at][column]) = {words[0], words[1], words[2], words[3]};
}

// sums += b a for one unit of columns. Product n of a tile has the columns 4j + n in its columns j, so that a lane loads
// four neighbours of a, and gets eight neighbours of the sum.
template <int kTiles>
__device__ void multiply(const Problem& p, const Walk& walk, const bf16 (&b)[kTiles * kTileRows][kPitch],
                         const Lane& lane, int first_column, float (&sums)[kTiles][4][4]) {
  const int column = first_column + 4 * lane.row;
  __syncwarp();
#pragma unroll
  for (int depth = 0; depth < kRanks; depth += 16) {
    const int32_t rank = walk.rank() + depth + 4 * lane.t;
    if (walk.rank() + depth >= walk.rank_end()) break;
    uint2 a[4];  // of four ranks
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const bool used = rank + i < walk.rank_end() && column < p.in;
      a[i] = used ? *reinterpret_cast<const uint2*>(p.slot.a + static_cast<int64_t>(rank + i) * p.in + column)
                  : uint2{0, 0};
    }
    constexpr uint32_t kLow = 0x5410, kHigh = 0x7632;  // the halves of two words side by side
    const uint2 turned[4] = {{__byte_perm(a[0].x, a[1].x, kLow), __byte_perm(a[2].x, a[3].x, kLow)},
                             {__byte_perm(a[0].x, a[1].x, kHigh), __byte_perm(a[2].x, a[3].x, kHigh)},
                             {__byte_perm(a[0].y, a[1].y, kLow), __byte_perm(a[2].y, a[3].y, kLow)},
                             {__byte_perm(a[0].y, a[1].y, kHigh), __byte_perm(a[2].y, a[3].y, kHigh)}};
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const uint2 low = four_bf16(&b[tile * kTileRows + lane.row][depth + 4 * lane.t]);
      const uint2 high = four_bf16(&b[tile * kTileRows + lane.row + 8][depth + 4 * lane.t]);
#pragma unroll
      for (int n = 0; n < 4; ++n) mma_bf16(sums[tile][n], low, high, turned[n]);
    }
  }
}

// Eight neighbours plus those of `sums` that belong to the upper (0) or lower (1) half of a tile.
__device__ uint4 merged(uint4 base, const float (&sums)[4][4], int half) {
  const uint32_t words[4] = {base.x, base.y, base.z, base.w};
  uint32_t result[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 old = unpack<bf16>(words[i]);
    const int n = 2 * i % 4, column = 2 * half + i / 2;
    result[i] = pack<bf16>(old.x + sums[n][column], old.y + sums[n + 1][column]);
  }
  return {result[0], result[1], result[2], result[3]};
}

__device__ __nv_bfloat162 largest_of(uint4 values, __nv_bfloat162 so_far) {
  const uint32_t words[4] = {values.x, values.y, values.z, values.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) so_far = __hmax2(so_far, __habs2(*reinterpret_cast<const __nv_bfloat162*>(&words[i])));
  return so_far;
}

__device__ uint2 quantised(uint4 values, float inverse) {
  const float2 a = unpack<bf16>(values.x), b = unpack<bf16>(values.y), c = unpack<bf16>(values.z),
               d = unpack<bf16>(values.w);
  return {to_e4m3x4(a.x * inverse, a.y * inverse, b.x * inverse, b.y * inverse),
          to_e4m3x4(c.x * inverse, c.y * inverse, d.x * inverse, d.y * inverse)};
}

// Scales of the rows, over all blocks of the cluster.
template <int kTiles>
__device__ void find_scales(const Problem& p, Shared<kTiles>& shared, const Lane& lane, int first_row,
                            const __nv_bfloat162 (&largest)[2 * kTiles]) {
  constexpr int kRows = Shared<kTiles>::kRows;
#pragma unroll
  for (int i = 0; i < 2 * kTiles; ++i) {
    float value = fmaxf(__low2float(largest[i]), __high2float(largest[i]));
    for (int distance = 1; distance < 4; distance *= 2) {
      value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, distance));
    }
    if (lane.t == 0) shared.of_warp[threadIdx.x / kWarp][i * 8 + lane.row] = value;
  }
  __syncthreads();
  const int row = threadIdx.x;
  if (row < kRows) {
    float value = shared.of_warp[0][row];
    for (int warp = 1; warp < kWarps; ++warp) value = fmaxf(value, shared.of_warp[warp][row]);
    shared.largest[row] = value;
  }
  if (gridDim.x > 1) {
    arrive_at_cluster();
    wait_for_cluster();
  }
  if (row < kRows) {
    float value = shared.largest[row];
    for (unsigned block = 0; gridDim.x > 1 && block < gridDim.x; ++block) {
      value = fmaxf(value, shared_of(shared.largest, block)[row]);
    }
    const float scale = row_scale(value);
    shared.inverse[row] = inverse_scale(scale);
    if (blockIdx.x == 0 && first_row + row < p.out) p.weight_scale[first_row + row] = scale;
  }
  if (gridDim.x > 1) arrive_at_cluster();  // waited for before the block ends: others read its memory
  __syncthreads();
}

}  // namespace fx::cuda::merging
