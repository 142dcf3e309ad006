// Blocks of (columns, rows): a thread takes eight neighbours at a time where width and address allow it.
#include "backends/cuda/convert.h"

#include "backends/cuda/cuda_error.h"
#include "backends/cuda/device_view.cuh"
#include "backends/cuda/quantize.cuh"

namespace fx::cuda {
namespace {

constexpr int kPack = 8;
constexpr int kColumnThreads = 128;

struct Scales {
  const float* base = nullptr;
  int64_t batch_stride = 0, row_stride = 0;
};

template <class In, int n>
__device__ void load_values(const In* p, float (&v)[n]) {
  if constexpr (sizeof(In) > 1) {
    load(p, v);
  } else if constexpr (n == 1) {
    v[0] = from_e4m3(*p);
  } else {
    const auto block = *reinterpret_cast<const Words<n>*>(p);
#pragma unroll
    for (int i = 0; i < n / 2; ++i) {
      const float2 pair = from_e4m3x2(static_cast<uint16_t>(block.words[i / 2] >> (16 * (i % 2))));
      v[2 * i] = pair.x;
      v[2 * i + 1] = pair.y;
    }
  }
}

// Grid: (rows, groups of columns).
template <class In, class Out, int n>
__global__ void convert_kernel(RowsOf<In> x, Scales scales, Out* y, int64_t columns) {
  const int64_t row = blockIdx.x, c = (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * n;
  if (c >= columns) return;
  float v[n];
  load_values(x[row] + c, v);
  if (scales.base) {
    const int64_t batch = row / x.per_batch;
    const float scale = scales.base[batch * scales.batch_stride + row % x.per_batch * scales.row_stride];
#pragma unroll
    for (int i = 0; i < n; ++i) v[i] *= scale;
  }
  store(y + row * columns + c, v);
}

// Grid: (rows, groups of columns).
__global__ void narrow_kernel(const bf16* x, RowsOf<uint8_t> y, int64_t columns) {
  const int64_t row = blockIdx.x, c = (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * kPack;
  if (c >= columns) return;
  float v[kPack];
  load(x + row * columns + c, v);
  uint32_t words[kPack / 4];
#pragma unroll
  for (int i = 0; i < kPack / 4; ++i) words[i] = to_e4m3x4(v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]);
  store_words(y[row] + c, words);
}

template <class In, class Out, int n>
void launch(const Tensor& x, const Scales& scales, void* y, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(x.size(0) * x.size(1)),
                  static_cast<unsigned>(ceil_div(x.size(2), int64_t{kColumnThreads} * n)));
  convert_kernel<In, Out, n>
      <<<grid, kColumnThreads, 0, stream>>>(RowsOf<In>(x), scales, static_cast<Out*>(y), x.size(2));
}

}  // namespace

void convert_rows(const Tensor& x, const Tensor& scale, DType type, void* y, cudaStream_t stream) {
  if (x.count() == 0) return;
  Scales scales;
  if (scale.defined()) scales = {scale.f32(), scale.stride(0), scale.stride(1)};
  const bool wide = fits_vectors(kPack, x) && reinterpret_cast<uintptr_t>(y) % 16 == 0;
  const auto to = [&](auto in) {
    using In = typename decltype(in)::type;
    dispatch<kPack>(type, wide, [&](auto out, auto width) {
      launch<In, typename decltype(out)::type, decltype(width)::value>(x, scales, y, stream);
    });
  };
  if (x.dtype() == DType::f8_e4m3) to(std::type_identity<uint8_t>());
  else dispatch(x.dtype(), to);
  check_launch("linear: conversion");
}

void narrow_rows(const void* x, const Tensor& y, cudaStream_t stream) {
  if (y.count() == 0) return;
  const dim3 grid(static_cast<unsigned>(y.size(0) * y.size(1)),
                  static_cast<unsigned>(ceil_div(y.size(2), int64_t{kColumnThreads} * kPack)));
  narrow_kernel<<<grid, kColumnThreads, 0, stream>>>(static_cast<const bf16*>(x), RowsOf<uint8_t>(y), y.size(2));
  check_launch("linear: conversion");
}

}  // namespace fx::cuda
