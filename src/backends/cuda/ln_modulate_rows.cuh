// ln_modulate in bf16 for rows of one width, that of wide models. Blocks stay on the device and walk over rows: shift and
// scale, four times as many bytes as a row, are read once for each block, and the next row is on its way while one is
// computed. The sums are those of ln_modulate_kernel, in the same order.
#pragma once

#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"
#include "backends/cuda/quantize.cuh"

namespace fx::cuda {

// (B, L): where the scale of each row goes.
struct RowScales {
  float* base = nullptr;
  int64_t batch_stride = 0, row_stride = 0;

  RowScales() = default;
  explicit RowScales(const Tensor& t) : base(t.f32()), batch_stride(t.stride(0)), row_stride(t.stride(1)) {}
};

inline constexpr int kRowPack = 8;       // neighbours, which a thread reads at once
inline constexpr int kRowPacks = 3;      // of a thread
inline constexpr int kRowThreads = 128;  // fewer threads with more values each: reductions cost each thread the same
inline constexpr int kRowWarps = kRowThreads / kWarp;
inline constexpr int kRowBlocks = 4;  // of a multiprocessor
inline constexpr int kRowChannels = kRowThreads * kRowPacks * kRowPack;

// What a thread has of a row, as it lies in memory or as floats.
using RowWords = uint32_t[kRowPacks][kRowPack / 2];
using RowValues = float[kRowPacks][kRowPack];

__device__ inline int row_channel(int pack) { return (pack * kRowThreads + static_cast<int>(threadIdx.x)) * kRowPack; }

// All threads get the result. One barrier is enough where the row's next reduction has another `of_warp`: who writes here
// again has passed that one's barrier, which nobody reaches before he has read what is here.
template <class Combine, class F>
__device__ float row_reduce(const RowValues& v, Combine combine, float (&of_warp)[kRowWarps], F f) {
  float result = 0;
#pragma unroll
  for (int i = 0; i < kRowPacks * kRowPack; ++i) result = combine(result, f(v[i / kRowPack][i % kRowPack]));
  result = warp_reduce(result, combine);
  if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = result;
  __syncthreads();
  result = of_warp[0];
#pragma unroll
  for (int i = 1; i < kRowWarps; ++i) result = combine(result, of_warp[i]);
  return result;
}

// Out is bf16, or uint8_t for e4m3 with one scale for each row. Grid: (blocks that walk over the rows, B).
template <class Out>
__global__ void __launch_bounds__(kRowThreads, kRowBlocks)
    ln_modulate_rows_kernel(RowsOf<bf16> x, StepRows shift_rows, StepRows scale_rows, RowsOf<Out> y, RowScales y_scale,
                            float eps, DeviceFault* fault) {
  __shared__ __align__(16) float of_warp[3][kRowWarps];
  const int64_t batch = blockIdx.y, rows = x.per_batch;
  const bf16* from = x.base + batch * x.batch_stride;
  Out* to = y.base + batch * y.batch_stride;
  RowWords next;
  const auto read = [&](int64_t row) {
#pragma unroll
    for (int g = 0; g < kRowPacks; ++g) load_words(from + row * x.row_stride + row_channel(g), next[g]);
  };
  read(blockIdx.x);
  RowValues factor, offset;
  const float *scale = scale_rows.row(batch, fault), *shift = shift_rows.row(batch, fault);
#pragma unroll
  for (int g = 0; g < kRowPacks; ++g) {
    load(scale + row_channel(g), factor[g]);
    load(shift + row_channel(g), offset[g]);
#pragma unroll
    for (int i = 0; i < kRowPack; ++i) factor[g][i] = 1.0f + factor[g][i];
  }
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    RowValues v;
#pragma unroll
    for (int i = 0; i < kRowPacks * kRowPack; i += 2) {
      const float2 pair = unpack<bf16>(next[i / kRowPack][i % kRowPack / 2]);
      v[i / kRowPack][i % kRowPack] = pair.x;
      v[i / kRowPack][i % kRowPack + 1] = pair.y;
    }
    if (row + gridDim.x < rows) read(row + gridDim.x);
    constexpr auto kCount = static_cast<float>(kRowChannels);
    const float mean = row_reduce(v, Sum(), of_warp[0], [](float a) { return a; }) / kCount;
    const float variance = row_reduce(v, Sum(), of_warp[1], [&](float a) { return (a - mean) * (a - mean); }) / kCount;
    const float inverse = 1.0f / sqrtf(variance + eps);
#pragma unroll
    for (int i = 0; i < kRowPacks * kRowPack; ++i) {
      float& value = v[i / kRowPack][i % kRowPack];
      value = (value - mean) * inverse;
      value = value * factor[i / kRowPack][i % kRowPack] + offset[i / kRowPack][i % kRowPack];
    }
    Out* out = to + row * y.row_stride;
    if constexpr (std::is_same_v<Out, uint8_t>) {
      const float whole = row_scale(row_reduce(v, Maximum(), of_warp[2], [](float a) { return fabsf(a); }));
      const float shrink = inverse_scale(whole);
      if (threadIdx.x == 0) y_scale.base[batch * y_scale.batch_stride + row * y_scale.row_stride] = whole;
#pragma unroll
      for (int g = 0; g < kRowPacks; ++g) {
        const float(&f)[kRowPack] = v[g];
        *reinterpret_cast<uint2*>(out + row_channel(g)) =
            make_uint2(to_e4m3x4(f[0] * shrink, f[1] * shrink, f[2] * shrink, f[3] * shrink),
                       to_e4m3x4(f[4] * shrink, f[5] * shrink, f[6] * shrink, f[7] * shrink));
      }
    } else {
#pragma unroll
      for (int g = 0; g < kRowPacks; ++g) store(out + row_channel(g), v[g]);
    }
  }
}

}  // namespace fx::cuda
