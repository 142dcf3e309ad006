// Tensor cores and asynchronous copies for the low-rank products, in instructions that work from sm_80 on.
//
// Operands of a product are multiplied four neighbours along the depth at a time: a thread takes the elements
// [4t, 4t + 4) of a depth of 16 (t = lane % 4), where the hardware's own order would be [2t, 2t + 2) and [2t + 8,
// 2t + 10). With the same permutation on both sides the sum is the same, and any type loads with one access.
#pragma once

#include "backends/cuda/device_values.cuh"
#include "backends/cuda/quantize.cuh"

namespace fx::cuda {

// d += a b^T: 16 x 8, depth 16. A lane holds of d: rows lane / 4 and lane / 4 + 8, columns 2t and 2t + 1.
__device__ inline void mma_bf16(float (&d)[4], uint2 a_row, uint2 a_row8, uint2 b) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a_row.x), "r"(a_row8.x), "r"(a_row.y), "r"(a_row8.y), "r"(b.x), "r"(b.y));
}

// Four neighbours as bf16.
__device__ inline uint2 four_bf16(const bf16* p) { return *reinterpret_cast<const uint2*>(p); }
__device__ inline uint2 four_bf16(const float* p) {
  const float4 v = *reinterpret_cast<const float4*>(p);
  return {pack<bf16>(v.x, v.y), pack<bf16>(v.z, v.w)};
}
__device__ inline uint2 four_bf16(const uint8_t* p) {  // e4m3, exact
  const uint32_t bits = *reinterpret_cast<const uint32_t*>(p);
  const float2 low = from_e4m3x2(static_cast<uint16_t>(bits)), high = from_e4m3x2(static_cast<uint16_t>(bits >> 16));
  return {pack<bf16>(low.x, low.y), pack<bf16>(high.x, high.y)};
}

// 16 bytes into shared memory, where they are after wait_copies.
__device__ inline void copy_async(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(shared))),
               "l"(global)
               : "memory");
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most `pending` of this thread's commits are under way.
template <int pending>
__device__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// 16 bytes of a tile: the first `count` elements from `source` on, and zeros behind them. `wide`: the address is a multiple
// of 16 bytes.
template <class T>
__device__ void copy_piece(T* shared, const T* source, int64_t count, bool wide) {
  constexpr int n = 16 / sizeof(T);
  if (count <= 0) {
    *reinterpret_cast<uint4*>(shared) = uint4{0, 0, 0, 0};
  } else if (wide && count >= n) {
    copy_async(shared, source);
  } else {
#pragma unroll 1
    for (int i = 0; i < n; ++i) {
      if (i < count) shared[i] = source[i];
      else shared[i] = T(0.0f);
    }
  }
}

}  // namespace fx::cuda
