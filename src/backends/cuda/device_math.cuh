// Scalar functions and reductions of the kernels. No fast-math but where it says so: errors are held against a naive f32
// implementation.
#pragma once

#include <cuda_runtime.h>

#include "ops/args.h"

namespace fx::cuda {

inline constexpr int kWarp = 32;

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// The exponential and the quotient have errors of a few units of f32: for results that are rounded to bf16.
__device__ inline float fast_silu(float x) { return __fdividef(x, 1.0f + __expf(-x)); }

__device__ inline float activate(Activation activation, float x) {
  constexpr float kSqrt2OverPi = 0.79788456080286535588f, kSqrtHalf = 0.70710678118654752440f;
  switch (activation) {
    case Activation::none: return x;
    case Activation::silu: return x * sigmoid(x);
    case Activation::gelu_tanh: return 0.5f * x * (1.0f + tanhf(kSqrt2OverPi * (x + 0.044715f * x * x * x)));
    case Activation::gelu_erf: return 0.5f * x * (1.0f + erff(x * kSqrtHalf));
    case Activation::quick_gelu: return x * sigmoid(1.702f * x);
  }
  return x;
}

struct Sum {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Maximum {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// All lanes get the result. The tree is fixed, so are the bits.
template <class Combine>
__device__ float warp_reduce(float value, Combine combine) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = combine(value, __shfl_xor_sync(0xffffffffu, value, distance));
  }
  return value;
}

// All threads get the result. The block is one-dimensional, a multiple of 32 threads and at most 1024.
template <class Combine>
__device__ float block_reduce(float value, Combine combine) {
  __shared__ float of_warp[kWarp];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  value = warp_reduce(value, combine);
  __syncthreads();  // the last reduction has been read
  if (lane == 0) of_warp[warp] = value;
  __syncthreads();
  value = of_warp[0];
  for (int i = 1; i < warps; ++i) value = combine(value, of_warp[i]);
  return value;
}

}  // namespace fx::cuda
