// Norms over channels. One block takes a row and holds it in registers, so memory is read once and statistics are still
// taken in two passes. Modulated rows of wide models have a kernel of their own (ln_modulate_rows.cuh).
#include <algorithm>

#include "backends/cuda/cuda_error.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"
#include "backends/cuda/ln_modulate_rows.cuh"
#include "backends/cuda/quantize.cuh"

namespace fx::cuda {
namespace {

constexpr int kVector = 8;
constexpr int kMostThreads = 512;
// Groups of values in a thread: with vectors, 128 threads hold 3072 channels.
template <int n>
inline constexpr int kGroups = n == kVector ? 3 : 12;

// What a thread holds of a row: groups of `n` neighbours, all groups of a block side by side.
template <int n>
struct Held {
  float values[kGroups<n>][n];

  // f(group, its first channel)
  template <class F>
  __device__ void each(int channels, F f) {
#pragma unroll
    for (int g = 0; g < kGroups<n>; ++g) {
      const int c = (g * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * n;
      if (c < channels) f(values[g], c);
    }
  }
  template <class T>
  __device__ void read(const T* row, int channels) {
    each(channels, [&](float(&v)[n], int c) { load(row + c, v); });
  }
  template <class T>
  __device__ void write(T* row, int channels) {
    each(channels, [&](float(&v)[n], int c) { store(row + c, v); });
  }
  // combine over f(value) of the row; all threads get it.
  template <class Combine, class F>
  __device__ float reduce(int channels, Combine combine, F f) {
    float result = 0;
    each(channels, [&](float(&v)[n], int) {
#pragma unroll
      for (int i = 0; i < n; ++i) result = combine(result, f(v[i]));
    });
    return block_reduce(result, combine);
  }
  // (x - mean) / sqrt(variance + eps)
  __device__ void normalise(int channels, float eps) {
    const auto count = static_cast<float>(channels);
    const float mean = reduce(channels, Sum(), [](float x) { return x; }) / count;
    const float variance = reduce(channels, Sum(), [&](float x) { return (x - mean) * (x - mean); }) / count;
    const float inverse = 1.0f / sqrtf(variance + eps);
    each(channels, [&](float(&v)[n], int) {
#pragma unroll
      for (int i = 0; i < n; ++i) v[i] = (v[i] - mean) * inverse;
    });
  }
};

// `Out` is T, or uint8_t for e4m3 with one scale for each row.
template <class T, class Out, int n>
__global__ void __launch_bounds__(kMostThreads)
    ln_modulate_kernel(RowsOf<T> x, StepRows shift_rows, StepRows scale_rows, RowsOf<Out> y, RowScales y_scale,
                       int channels, float eps, DeviceFault* fault) {
  const int64_t row = blockIdx.x, batch = row / x.per_batch;
  Held<n> held;
  held.read(x[row], channels);
  const float *shift = shift_rows.row(batch, fault), *scale = scale_rows.row(batch, fault);
  held.normalise(channels, eps);
  held.each(channels, [&](float(&v)[n], int c) {
    float factor[n], offset[n];
    load(scale + c, factor);
    load(shift + c, offset);
#pragma unroll
    for (int i = 0; i < n; ++i) v[i] = v[i] * (1.0f + factor[i]) + offset[i];
  });
  Out* out = y[row];
  if constexpr (std::is_same_v<Out, uint8_t>) {
    const float amax = held.reduce(channels, Maximum(), [](float v) { return fabsf(v); });
    const float whole = row_scale(amax), inverse = inverse_scale(whole);
    if (threadIdx.x == 0) y_scale.base[batch * y_scale.batch_stride + row % x.per_batch * y_scale.row_stride] = whole;
    held.each(channels, [&](float(&v)[n], int c) {
      if constexpr (n == kVector) {
        *reinterpret_cast<uint2*>(out + c) =
            make_uint2(to_e4m3x4(v[0] * inverse, v[1] * inverse, v[2] * inverse, v[3] * inverse),
                       to_e4m3x4(v[4] * inverse, v[5] * inverse, v[6] * inverse, v[7] * inverse));
      } else {
        out[c] = to_e4m3(v[0] * inverse);
      }
    });
  } else {
    held.write(out, channels);
  }
}

template <class T, int n>
__global__ void __launch_bounds__(kMostThreads)
    layer_norm_kernel(RowsOf<T> x, const T* gain, const T* bias, RowsOf<T> y, int channels, float eps) {
  Held<n> held;
  held.read(x[blockIdx.x], channels);
  held.normalise(channels, eps);
  held.each(channels, [&](float(&v)[n], int c) {
    float factor[n], offset[n];
    load(gain + c, factor);
    load(bias + c, offset);
#pragma unroll
    for (int i = 0; i < n; ++i) v[i] = v[i] * factor[i] + offset[i];
  });
  held.write(y[blockIdx.x], channels);
}

template <class T, int n>
__global__ void __launch_bounds__(kMostThreads)
    rms_norm_kernel(RowsOf<T> x, const T* gain, RowsOf<T> y, int channels, float eps) {
  Held<n> held;
  held.read(x[blockIdx.x], channels);
  const float squares = held.reduce(channels, Sum(), [](float v) { return v * v; });
  const float inverse = 1.0f / sqrtf(squares / static_cast<float>(channels) + eps);
  held.each(channels, [&](float(&v)[n], int c) {
    float factor[n];
    load(gain + c, factor);
#pragma unroll
    for (int i = 0; i < n; ++i) v[i] = v[i] * inverse * factor[i];
  });
  held.write(y[blockIdx.x], channels);
}

// Just enough warps to hold a row; refuses one that no block can hold (12288 channels, 6144 without vectors).
template <int n>
struct RowLaunch {
  unsigned rows, threads;
  int channels;

  RowLaunch(const Tensor& x, const char* operation)
      : rows(static_cast<unsigned>(x.size(0) * x.size(1))), channels(static_cast<int>(x.size(2))) {
    if (x.size(2) > int64_t{kMostThreads} * kGroups<n> * n) check_cuda(cudaErrorInvalidValue, operation);
    threads = static_cast<unsigned>(ceil_div(channels, kWarp * kGroups<n> * n) * kWarp);
  }
};

// As many blocks as the device holds at once, or one for each row.
template <class Out>
void ln_modulate_rows(const LnModulateArgs& a, const RowScales& y_scale, DeviceFault* fault, cudaStream_t stream) {
  int device = 0, multiprocessors = 0;
  check_cuda(cudaGetDevice(&device), "ln_modulate");
  check_cuda(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device), "ln_modulate");
  const int64_t batch = a.x.size(0), rows = a.x.size(1);
  const int64_t blocks = std::min(rows, ceil_div(int64_t{kRowBlocks} * multiprocessors, batch));
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(batch));
  ln_modulate_rows_kernel<<<grid, kRowThreads, 0, stream>>>(RowsOf<bf16>(a.x), StepRows(a.shift), StepRows(a.scale),
                                                            RowsOf<Out>(a.y), y_scale, a.eps, fault);
}

}  // namespace

void CudaOps::do_ln_modulate(const LnModulateArgs& a) {
  if (a.x.count() == 0) return;
  const bool wide = fit_vectors(kVector, a.x, a.y, a.shift.table, a.scale.table);
  if (wide && a.x.dtype() == DType::bf16 && a.x.size(2) == kRowChannels) {
    if (a.y.dtype() == DType::f8_e4m3) ln_modulate_rows<uint8_t>(a, RowScales(a.y_scale), fault(), stream());
    else ln_modulate_rows<bf16>(a, RowScales(), fault(), stream());
    return check_launch("ln_modulate");
  }
  dispatch<kVector>(a.x.dtype(), wide, [&](auto type, auto width) {
    using T = typename decltype(type)::type;
    constexpr int n = decltype(width)::value;
    const RowLaunch<n> launch(a.x, "ln_modulate");
    const StepRows shift(a.shift), scale(a.scale);
    if (a.y.dtype() == DType::f8_e4m3) {
      ln_modulate_kernel<T, uint8_t, n><<<launch.rows, launch.threads, 0, stream()>>>(
          RowsOf<T>(a.x), shift, scale, RowsOf<uint8_t>(a.y), RowScales(a.y_scale), launch.channels, a.eps, fault());
    } else {
      ln_modulate_kernel<T, T, n><<<launch.rows, launch.threads, 0, stream()>>>(
          RowsOf<T>(a.x), shift, scale, RowsOf<T>(a.y), RowScales(), launch.channels, a.eps, fault());
    }
  });
  check_launch("ln_modulate");
}

void CudaOps::do_layer_norm(const LayerNormArgs& a) {
  if (a.x.count() == 0) return;
  dispatch<kVector>(a.x.dtype(), fit_vectors(kVector, a.x, a.y, a.gain, a.bias), [&](auto type, auto width) {
    using T = typename decltype(type)::type;
    constexpr int n = decltype(width)::value;
    const RowLaunch<n> launch(a.x, "layer_norm");
    layer_norm_kernel<T, n><<<launch.rows, launch.threads, 0, stream()>>>(
        RowsOf<T>(a.x), a.gain.data<T>(), a.bias.data<T>(), RowsOf<T>(a.y), launch.channels, a.eps);
  });
  check_launch("layer_norm");
}

void CudaOps::do_rms_norm(const RmsNormArgs& a) {
  if (a.x.count() == 0) return;
  dispatch<kVector>(a.x.dtype(), fit_vectors(kVector, a.x, a.y, a.gain), [&](auto type, auto width) {
    using T = typename decltype(type)::type;
    constexpr int n = decltype(width)::value;
    const RowLaunch<n> launch(a.x, "rms_norm");
    rms_norm_kernel<T, n><<<launch.rows, launch.threads, 0, stream()>>>(RowsOf<T>(a.x), a.gain.data<T>(),
                                                                        RowsOf<T>(a.y), launch.channels, a.eps);
  });
  check_launch("rms_norm");
}

}  // namespace fx::cuda
