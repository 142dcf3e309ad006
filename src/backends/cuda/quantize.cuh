// Rows in e4m3: the arithmetic that everything which quantises shares, so that equal values give equal bits everywhere.
#pragma once

#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace fx::cuda {

inline constexpr float kLargestE4m3 = 448.0f;

// The least power of two that brings the largest magnitude of a row to 448 or below, or to what is asked for; a row of zeros
// has scale 1. A row whose scale would be subnormal gets the smallest normal one: its inverse is finite, and the row loses
// nothing that anyone could see. Nor does it matter how large magnitudes become, as e4m3 has the same number of bits
// everywhere; but what has been rounded once under one power of two is not rounded again under another.
__device__ inline float row_scale(float amax, float largest = kLargestE4m3) {
  constexpr float kSmallestNormal = 1.17549435e-38f;
  constexpr uint32_t kMantissa = 0x7fffff;
  if (!(amax > 0.0f)) return 1.0f;
  const float scale = fmaxf(__fdiv_rn(amax, largest), kSmallestNormal);
  return __uint_as_float((__float_as_uint(scale) + kMantissa) & ~kMantissa);
}

// Values are multiplied by it. Exact for a scale of rows; 0x1p126, the largest, is that of the smallest normal one.
__device__ inline float inverse_scale(float scale) { return __frcp_rn(scale); }

// To nearest, ties to even; beyond 448 becomes 448; NaN stays NaN. `scaled` is value * inverse_scale.
__device__ inline uint8_t to_e4m3(float scaled) { return __nv_cvt_float_to_fp8(scaled, __NV_SATFINITE, __NV_E4M3); }
// The first value goes to the lowest byte.
__device__ inline uint16_t to_e4m3x2(float a, float b) {
  return __nv_cvt_float2_to_fp8x2(make_float2(a, b), __NV_SATFINITE, __NV_E4M3);
}
__device__ inline uint32_t to_e4m3x4(float a, float b, float c, float d) {
  return to_e4m3x2(a, b) | static_cast<uint32_t>(to_e4m3x2(c, d)) << 16;
}

// Exact.
__device__ inline float from_e4m3(uint8_t bits) {
  return __half2float(__half(__nv_cvt_fp8_to_halfraw(bits, __NV_E4M3)));
}
__device__ inline float2 from_e4m3x2(uint16_t bits) {
  return __half22float2(__half2(__nv_cvt_fp8x2_to_halfraw2(bits, __NV_E4M3)));
}

}  // namespace fx::cuda
