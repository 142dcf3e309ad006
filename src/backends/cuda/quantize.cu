// One block per row. A row whose width and address allow 16 bytes at a time stays in registers between the search for
// its largest magnitude and its conversion, so that memory is read once.
#include "backends/cuda/quantize.h"

#include "backends/cuda/cuda_error.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"
#include "backends/cuda/quantize.cuh"

namespace fx::cuda {
namespace {

constexpr int kPack = 8;           // values that a thread takes at a time
constexpr int kMostThreads = 512;  // of a block

// GateFold as kernels see it: the first `blocks` blocks of a launch do it.
struct Fold {
  StepRows gate;
  const float* weight_scale = nullptr;
  const void* bias = nullptr;
  bool bias_is_bf16 = false;
  int64_t out = 0, count = 0, bias_batch = 0;
  float* scale = nullptr;
  bf16* folded_bias = nullptr;
  unsigned blocks = 0;

  Fold(const GateFold& fold, int threads) {
    if (!fold.defined()) return;
    if (fold.gate.defined()) gate = StepRows(fold.gate);
    weight_scale = fold.weight_scale.f32();
    bias = fold.bias.raw();
    bias_is_bf16 = fold.bias.defined() && fold.bias.dtype() == DType::bf16;
    if (fold.bias.defined() && fold.bias.rank() == 2) bias_batch = fold.bias.stride(0);
    out = fold.weight_scale.count();
    count = fold.batches * out;
    scale = fold.scale;
    folded_bias = static_cast<bf16*>(fold.folded_bias);
    blocks = static_cast<unsigned>(ceil_div(count, threads));
  }

  __device__ void run(DeviceFault* fault) const {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const int64_t batch = i / out, n = i % out;
    const float factor = gate.table ? gate.row(batch, fault)[n] : 1.0f;
    scale[i] = weight_scale[n] * factor;
    if (!folded_bias) return;
    const int64_t at = batch * bias_batch + n;
    const float value =
        bias_is_bf16 ? to_float(static_cast<const bf16*>(bias)[at]) : static_cast<const float*>(bias)[at];
    folded_bias[i] = from_float<bf16>(value * factor);
  }
};

// Eight values as they lie in memory.
template <class T>
using Pack = Words<kPack * sizeof(T)>;

template <class T>
__device__ void values_of(const Pack<T>& pack, float (&v)[kPack]) {
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int i = 0; i < kPack; ++i) v[i] = __uint_as_float(pack.words[i]);
  } else {
#pragma unroll
    for (int i = 0; i < kPack / 2; ++i) {
      const float2 pair = unpack<T>(pack.words[i]);
      v[2 * i] = pair.x;
      v[2 * i + 1] = pair.y;
    }
  }
}

// QuantizedRows as kernels see them.
struct Target {
  uint8_t* values;
  int64_t pitch;
  float *scales, largest;

  explicit Target(const QuantizedRows& y)
      : values(static_cast<uint8_t*>(y.values)), pitch(y.pitch), scales(y.scale), largest(y.largest) {}
};

// `packs` in a row, at most `n` for each thread.
template <class T, int n>
__global__ void __launch_bounds__(kMostThreads)
    quantize_packs_kernel(RowsOf<T> x, int packs, Target y, Fold fold, DeviceFault* fault) {
  if (blockIdx.x < fold.blocks) return fold.run(fault);
  const unsigned row = blockIdx.x - fold.blocks, per_batch = static_cast<unsigned>(x.per_batch);
  const unsigned batch = row / per_batch;  // 32 bits: a division of 64 costs as much as eight values do
  const auto* from =
      reinterpret_cast<const Pack<T>*>(x.base + batch * x.batch_stride + (row - batch * per_batch) * x.row_stride);
  Pack<T> kept[n];
  float largest = 0.0f;
#pragma unroll
  for (int i = 0; i < n; ++i) {
    const int at = static_cast<int>(threadIdx.x + i * blockDim.x);
    if (at < packs) kept[i] = from[at];
  }
#pragma unroll
  for (int i = 0; i < n; ++i) {
    if (static_cast<int>(threadIdx.x + i * blockDim.x) >= packs) continue;
    float v[kPack];
    values_of<T>(kept[i], v);
#pragma unroll
    for (int j = 0; j < kPack; ++j) largest = fmaxf(largest, fabsf(v[j]));
  }
  const float scale = row_scale(block_reduce(largest, Maximum()), y.largest);
  const float inverse = inverse_scale(scale);
  if (threadIdx.x == 0) y.scales[row] = scale;
  auto* to = reinterpret_cast<uint2*>(y.values + static_cast<int64_t>(row) * y.pitch);
#pragma unroll
  for (int i = 0; i < n; ++i) {
    const int at = static_cast<int>(threadIdx.x + i * blockDim.x);
    if (at >= packs) continue;
    float v[kPack];
    values_of<T>(kept[i], v);
#pragma unroll
    for (int j = 0; j < kPack; ++j) v[j] *= inverse;
    to[at] = make_uint2(to_e4m3x4(v[0], v[1], v[2], v[3]), to_e4m3x4(v[4], v[5], v[6], v[7]));
  }
}

// Any width and address.
template <class T>
__global__ void quantize_values_kernel(RowsOf<T> x, int64_t columns, Target y, Fold fold, DeviceFault* fault) {
  if (blockIdx.x < fold.blocks) return fold.run(fault);
  const int64_t row = blockIdx.x - fold.blocks;
  const T* from = x[row];
  float largest = 0.0f;
  for (int64_t c = threadIdx.x; c < columns; c += blockDim.x) largest = fmaxf(largest, fabsf(to_float(from[c])));
  const float scale = row_scale(block_reduce(largest, Maximum()), y.largest);
  const float inverse = inverse_scale(scale);
  if (threadIdx.x == 0) y.scales[row] = scale;
  for (int64_t c = threadIdx.x; c < columns; c += blockDim.x) {
    y.values[row * y.pitch + c] = to_e4m3(to_float(from[c]) * inverse);
  }
}

__global__ void fold_gate_kernel(Fold fold, DeviceFault* fault) { fold.run(fault); }

struct Quantization {
  const Tensor& x;
  const QuantizedRows& y;
  const GateFold& gate_fold;
  DeviceFault* fault;
  cudaStream_t stream;

  unsigned blocks(const Fold& fold) const { return static_cast<unsigned>(x.size(0) * x.size(1)) + fold.blocks; }

  // `n` packs for each thread, in as few warps as that takes: all are read before the first is used, and what a block does
  // once costs each of its warps the same.
  template <class T, int n>
  void packs() const {
    const int packs = static_cast<int>(x.size(2) / kPack);
    const int threads = static_cast<int>(ceil_div(ceil_div(packs, n), kWarp)) * kWarp;
    const Fold fold(gate_fold, threads);
    quantize_packs_kernel<T, n><<<blocks(fold), threads, 0, stream>>>(RowsOf<T>(x), packs, Target(y), fold, fault);
  }

  template <class T>
  void run() const {
    const int64_t packs_of_row = x.size(2) / kPack;
    const bool whole =
        fits_vectors(kPack, x) && reinterpret_cast<uintptr_t>(y.values) % kPack == 0 && y.pitch % kPack == 0;
    if (whole && packs_of_row <= kWarp) return packs<T, 1>();
    if (whole && packs_of_row <= 2 * kWarp) return packs<T, 2>();
    if (whole && packs_of_row <= 4 * kMostThreads) return packs<T, 4>();
    if (whole && packs_of_row <= 8 * kMostThreads) return packs<T, 8>();
    const Fold fold(gate_fold, kThreads);
    quantize_values_kernel<T><<<blocks(fold), kThreads, 0, stream>>>(RowsOf<T>(x), x.size(2), Target(y), fold, fault);
  }
};

}  // namespace

void quantize_rows(const Tensor& x, const QuantizedRows& y, const GateFold& fold, DeviceFault* fault,
                   cudaStream_t stream) {
  if (x.count() == 0) return;
  const Quantization quantization{x, y, fold, fault, stream};
  dispatch(x.dtype(), [&](auto type) { quantization.run<typename decltype(type)::type>(); });
  check_launch("quantize_rows");
}

void fold_gate(const GateFold& fold, DeviceFault* fault, cudaStream_t stream) {
  const Fold on_device(fold, kThreads);
  if (on_device.blocks == 0) return;
  fold_gate_kernel<<<on_device.blocks, kThreads, 0, stream>>>(on_device, fault);
  check_launch("linear: gate");
}

void CudaOps::do_quantize_rows(const QuantizeRowsArgs& a) {
  const Tensor x = a.x.reshape({1, a.x.size(0), a.x.size(1)});
  const QuantizedRows y{a.y.raw(), a.y.stride(0), a.scale.f32(), a.largest};
  cuda::quantize_rows(x, y, GateFold(), fault(), stream());
}

}  // namespace fx::cuda
