// weight = base + sum over segments of (b * scale) a for a base of bf16, quantised row by row if the weight is e4m3. It
// is what a swap costs, so it reads the base once. A cluster owns up to 64 rows, whose merged values (bf16) stay in its
// blocks' shared memory until the largest of each row is known. Values never move between threads: shared memory serves
// as registers that can be indexed, and as the landing place of all that is asked for at once at the beginning. Rows that
// no segment feeds keep the base's bits.
#pragma once

#include "backends/cuda/merge_tiles.cuh"

namespace fx::cuda::merging {

// Grid: (parts of the columns, which are one cluster; groups of rows).
template <int kTiles, bool kQuantise>
__global__ void __launch_bounds__(kBlockThreads, 2)
    merge_kernel(const __grid_constant__ Problem p, DeviceFault* fault) {
  constexpr int kRows = Shared<kTiles>::kRows;
  extern __shared__ __align__(16) char tiles[];
  __shared__ Shared<kTiles> shared;
  const int first_row = static_cast<int>(blockIdx.y) * kRows;
  const int warp = threadIdx.x / kWarp;
  const Part part(p.in);
  const Lane lane;
  const auto inside = [&](int half_tile, int column) {
    return first_row + half_tile * 8 + lane.row < p.out && column < p.in;
  };
  for (int unit = warp; unit < part.units; unit += kWarps) {
    const int column = lane.column(part, unit);
#pragma unroll
    for (int i = 0; i < 2 * kTiles; ++i) {
      const bf16* from = p.base + p.at(first_row + i * 8 + lane.row, column);
      copy_piece(reinterpret_cast<bf16*>(packet<kTiles>(tiles, lane, unit, i)), from, inside(i, column) ? 8 : 0, true);
    }
    commit_copies();
  }
  if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) p.slot.note_faults(fault);
  __syncwarp();

  Walk walk(p.slot, first_row, min(first_row + kRows, p.out));
  uint32_t fed = 0;  // this lane's rows
  if (!walk.done()) {
    if (threadIdx.x < kRows) {
      const int row = first_row + static_cast<int>(threadIdx.x);
      bool feeds = false;
      for (int i = 0; i < p.slot.used_segments(); ++i) feeds |= p.slot.feeds(p.slot.segments[i], row, row + 1);
      shared.fed[threadIdx.x] = feeds;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 2 * kTiles; ++i) fed |= static_cast<uint32_t>(shared.fed[i * 8 + lane.row]) << i;
  }

  __nv_bfloat162 largest[2 * kTiles];
#pragma unroll
  for (int i = 0; i < 2 * kTiles; ++i) largest[i] = __float2bfloat162_rn(0.0f);
  int staged = -1;  // which chunk of ranks is in shared memory; often there is but one
  for (int begin = 0; begin < part.units; begin += kWarps) {
    const int unit = begin + warp;
    const bool active = unit < part.units;
    float sums[kTiles][4][4] = {};
    if (begin > 0) walk.restart();
    for (int chunk = 0; !walk.done(); walk.next(), ++chunk) {
      if (chunk != staged) {
        __syncthreads();
        stage_b<kTiles>(p, walk, first_row, shared.b);
        __syncthreads();
        staged = chunk;
      }
      if (active) multiply<kTiles>(p, walk, shared.b, lane, (part.first + unit) * kUnit, sums);
    }
    if (!active) continue;
    wait_unit((part.units - 1 - unit) / kWarps);
    const int column = lane.column(part, unit);
#pragma unroll
    for (int i = 0; i < 2 * kTiles; ++i) {
      uint4* at = packet<kTiles>(tiles, lane, unit, i);
      uint4 values = *at;
      if (fed >> i & 1) values = merged(values, sums[i / 2], i % 2);
      if constexpr (kQuantise) {
        if (fed >> i & 1) *at = values;
        largest[i] = largest_of(values, largest[i]);
      } else if (inside(i, column)) {
        bf16* to = static_cast<bf16*>(p.weight) + p.at(first_row + i * 8 + lane.row, column);
        *reinterpret_cast<uint4*>(to) = values;
      }
    }
  }
  if constexpr (kQuantise) {
    find_scales<kTiles>(p, shared, lane, first_row, largest);
    for (int unit = warp; unit < part.units; unit += kWarps) {
      const int column = lane.column(part, unit);
#pragma unroll
      for (int i = 0; i < 2 * kTiles; ++i) {
        if (!inside(i, column)) continue;
        uint8_t* to = static_cast<uint8_t*>(p.weight) + p.at(first_row + i * 8 + lane.row, column);
        *reinterpret_cast<uint2*>(to) =
            quantised(*packet<kTiles>(tiles, lane, unit, i), shared.inverse[i * 8 + lane.row]);
      }
    }
    if (gridDim.x > 1) wait_for_cluster();
  }
}

}  // namespace fx::cuda::merging
