// Values in memory and in registers: kernels compute in f32 whatever a tensor holds, and move 16 bytes at a time where
// addresses and widths allow it.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "core/tensor.h"

namespace fx::cuda {

using bf16 = __nv_bfloat16;

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(bf16 x) { return __bfloat162float(x); }
__device__ inline float to_float(__half x) { return __half2float(x); }

// To nearest, ties to even.
template <class T>
__device__ T from_float(float x) {
  if constexpr (std::is_same_v<T, bf16>) return __float2bfloat16_rn(x);
  else if constexpr (std::is_same_v<T, __half>) return __float2half_rn(x);
  else return x;
}

// Two neighbours of a 16-bit type; the first one lies in the low half.
template <class T>
__device__ float2 unpack(uint32_t pair) {
  if constexpr (std::is_same_v<T, bf16>) return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)};
  else return {__half2float(__ushort_as_half(pair & 0xffffu)), __half2float(__ushort_as_half(pair >> 16))};
}
template <class T>
__device__ uint32_t pack(float low, float high) {
  if constexpr (std::is_same_v<T, bf16>) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  } else {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
}

// What one thread moves, as one value.
template <int bytes>
struct alignas(bytes < 16 ? bytes : 16) Words {
  static_assert(bytes == 4 || bytes == 8 || bytes % 16 == 0);
  uint32_t words[bytes / 4];
};

// 4, 8 or a multiple of 16 bytes of global memory, in as few accesses as there are. Stores are spelt out, because the
// compiler takes some of them apart again.
template <int words>
__device__ void load_words(const void* p, uint32_t (&w)[words]) {
  static_assert(words == 1 || words == 2 || words % 4 == 0);
  if constexpr (words == 1) {
    w[0] = *static_cast<const uint32_t*>(p);
  } else if constexpr (words == 2) {
    const uint2 pair = *static_cast<const uint2*>(p);
    w[0] = pair.x, w[1] = pair.y;
  } else {
#pragma unroll
    for (int i = 0; i < words; i += 4) {
      const uint4 four = static_cast<const uint4*>(p)[i / 4];
      w[i] = four.x, w[i + 1] = four.y, w[i + 2] = four.z, w[i + 3] = four.w;
    }
  }
}
template <int words>
__device__ void store_words(void* p, const uint32_t (&w)[words]) {
  static_assert(words == 1 || words == 2 || words % 4 == 0);
  if constexpr (words == 1) {
    *static_cast<uint32_t*>(p) = w[0];
  } else if constexpr (words == 2) {
    asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(p)), "r"(w[0]), "r"(w[1])
                 : "memory");
  } else {
#pragma unroll
    for (int i = 0; i < words; i += 4) {
      asm volatile(
          "st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(static_cast<uint4*>(p) + i / 4)),
          "r"(w[i]), "r"(w[i + 1]), "r"(w[i + 2]), "r"(w[i + 3])
          : "memory");
    }
  }
}

// `n` neighbours as floats: one at any address, or several where the address is a multiple of 16 bytes, or of all their
// bytes if those are fewer.
template <class T, int n>
__device__ void load(const T* p, float (&v)[n]) {
  if constexpr (n == 1) {
    v[0] = to_float(*p);
  } else {
    uint32_t words[n * sizeof(T) / 4];
    load_words(p, words);
#pragma unroll
    for (int i = 0; i < n; ++i) {
      if constexpr (sizeof(T) == 4) v[i] = __uint_as_float(words[i]);
      else v[i] = i % 2 == 0 ? unpack<T>(words[i / 2]).x : unpack<T>(words[i / 2]).y;
    }
  }
}
template <class T, int n>
__device__ void store(T* p, const float (&v)[n]) {
  if constexpr (n == 1) {
    *p = from_float<T>(v[0]);
  } else {
    uint32_t words[n * sizeof(T) / 4];
#pragma unroll
    for (int i = 0; i < static_cast<int>(n * sizeof(T) / 4); ++i) {
      if constexpr (sizeof(T) == 4) words[i] = __float_as_uint(v[i]);
      else words[i] = pack<T>(v[2 * i], v[2 * i + 1]);
    }
    store_words(p, words);
  }
}

// Whether the last axis can be read in groups of `n`: its size, the address and the other strides allow it.
inline bool fits_vectors(int64_t n, const Tensor& t) {
  if (!t.defined()) return true;
  const auto bytes = static_cast<int64_t>(size_of(t.dtype()));
  const int64_t alignment = n * bytes < 16 ? n * bytes : 16;
  if (reinterpret_cast<uintptr_t>(t.raw()) % alignment != 0 || t.size(-1) % n != 0 || t.stride(-1) != 1) return false;
  for (int axis = 0; axis + 1 < t.rank(); ++axis) {
    if (t.size(axis) > 1 && t.stride(axis) * bytes % alignment != 0) return false;
  }
  return true;
}
template <class... Tensors>
bool fit_vectors(int64_t n, const Tensors&... tensors) {
  return (fits_vectors(n, tensors) && ...);
}

// Calls f(type) with what `dtype`, f32 or bf16, is in memory: `using T = typename decltype(type)::type`.
template <class F>
void dispatch(DType dtype, F&& f) {
  if (dtype == DType::bf16) f(std::type_identity<bf16>());
  else f(std::type_identity<float>());
}

// The same for kernels that take `n` values at a time where `wide`, and one otherwise: f(type, width).
template <int n, class F>
void dispatch(DType dtype, bool wide, F&& f) {
  dispatch(dtype, [&](auto type) {
    if (wide) f(type, std::integral_constant<int, n>());
    else f(type, std::integral_constant<int, 1>());
  });
}

}  // namespace fx::cuda
