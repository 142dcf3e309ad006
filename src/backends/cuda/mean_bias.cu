#include "backends/cuda/mean_bias.h"

#include "backends/cuda/cuda_error.h"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"
#include "backends/cuda/lora.h"
#include "backends/cuda/quantize.cuh"

namespace fx::cuda {
namespace {

constexpr int kPack = 16;  // e4m3 values that a lane takes at a time
constexpr int kPacks = 6;  // that it begins to read before it uses the first: a row of 3072 at once
constexpr int kWarps = 12, kBlock = kWarps * kWarp;
constexpr int64_t kMostShared = 48 << 10;
constexpr float kUnscale = 0x1p120f;

// Byte `i` of a word as f32: 2^-120 times the value in e4m3, as exponents begin 120 apart. Conversions are several times as
// dear. Subnormal values stay subnormal and must not be flushed to zero; NaN, which no weight is, would count as 480.
__device__ float scaled_e4m3(uint32_t word, int i) {
  return __int_as_float(static_cast<int32_t>(word << (24 - 8 * i)) >> 4 & 0x87f00000);
}

__device__ float weight_of(uint8_t e4m3) { return from_e4m3(e4m3); }
__device__ float weight_of(float w) { return w; }
__device__ float weight_of(bf16 w) { return to_float(w); }

// y[b, n] = scale[n] * alpha * (weight[n] mean[b] + front[n] inner[b]) + bias[n]
template <class W, class T>
struct MeanProduct {
  const T* mean = nullptr;  // (B, m)
  int64_t m = 0;
  const W* weight = nullptr;  // (out, m or more)
  int64_t stride = 0, out = 0;
  const uint8_t* front = nullptr;  // in rows of the same stride
  const float* inner = nullptr;    // (B, columns)
  int32_t columns = 0;             // of the front
  const float* scale = nullptr;    // or null: 1
  float alpha = 1;
  const void* bias = nullptr;  // or null: 0
  bool bias_is_bf16 = false;
  float* y = nullptr;  // (B, out)

  __device__ float bias_of(int64_t row) const {
    if (!bias) return 0.0f;
    return bias_is_bf16 ? to_float(static_cast<const bf16*>(bias)[row]) : static_cast<const float*>(bias)[row];
  }
  __device__ float times_front(int64_t row, int64_t batch) const {
    float sum = 0;
    for (int e = threadIdx.x % kWarp; e < columns; e += kWarp) {
      sum = fmaf(from_e4m3(front[row * stride + e]), inner[batch * columns + e], sum);
    }
    return sum;
  }
  __device__ void write(int64_t row, int64_t batch, float sum) const {
    sum = warp_reduce(sum, Sum()) * alpha;
    if (threadIdx.x % kWarp == 0) y[batch * out + row] = fmaf(sum, scale ? scale[row] : 1.0f, bias_of(row));
  }
};

// kPacks times 16 neighbours of a row of e4m3, from value `begin` on.
struct Packs {
  uint32_t words[kPacks][kPack / 4];

  __device__ void read(const uint8_t* row, int64_t begin, int64_t count) {
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      if (begin + i * kWarp * kPack < count) load_words(row + begin + i * kWarp * kPack, words[i]);
    }
  }
  // 2^-120 times the product with the mean.
  __device__ float times(const bf16* mean, int64_t begin, int64_t count) const {
    float even = 0, odd = 0;
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      if (begin + i * kWarp * kPack >= count) break;
      uint32_t pairs[kPack / 2];
      load_words(mean + begin + i * kWarp * kPack, pairs);
#pragma unroll
      for (int j = 0; j < kPack; j += 2) {
        const float2 pair = unpack<bf16>(pairs[j / 2]);
        even = fmaf(scaled_e4m3(words[i][j / 4], j % 4), pair.x, even);
        odd = fmaf(scaled_e4m3(words[i][j / 4], j % 4 + 1), pair.y, odd);
      }
    }
    return even + odd;
  }
};

// A warp for each row. Grid: (groups of rows, B). Rows of e4m3, read 16 bytes at a time.
__global__ void __launch_bounds__(kBlock) wide_product_kernel(MeanProduct<uint8_t, bf16> p) {
  extern __shared__ uint4 shared[];
  auto* mean = reinterpret_cast<bf16*>(shared);  // (m)
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp, batch = blockIdx.y;
  const bool has_row = row < p.out;
  const uint8_t* weight = p.weight + row * p.stride;
  int64_t begin = threadIdx.x % kWarp * kPack;
  Packs packs;
  if (has_row) packs.read(weight, begin, p.m);  // on their way while the mean is fetched
  for (int64_t i = threadIdx.x; i < p.m / 8; i += kBlock) {
    shared[i] = reinterpret_cast<const uint4*>(p.mean + batch * p.m)[i];
  }
  const float more = has_row ? p.times_front(row, batch) : 0.0f;
  __syncthreads();
  if (!has_row) return;
  float sum = 0;
  while (begin < p.m) {
    sum += packs.times(mean, begin, p.m);
    begin += kPacks * kWarp * kPack;
    packs.read(weight, begin, p.m);
  }
  p.write(row, batch, fmaf(sum, kUnscale, more));
}

// The same for any type, length and address.
template <class W, class T>
__global__ void __launch_bounds__(kBlock) product_kernel(MeanProduct<W, T> p) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp, batch = blockIdx.y;
  if (row >= p.out) return;
  float sum = p.times_front(row, batch);
  for (int64_t c = threadIdx.x % kWarp; c < p.m; c += kWarp) {
    sum = fmaf(weight_of(p.weight[row * p.stride + c]), to_float(p.mean[batch * p.m + c]), sum);
  }
  p.write(row, batch, sum);
}

template <class W, class T>
void launch(const MeanProduct<W, T>& p, int64_t batch, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(ceil_div(p.out, kWarps)), static_cast<unsigned>(batch));
  if constexpr (std::is_same_v<W, uint8_t>) {
    const auto aligned = [](const void* address) { return reinterpret_cast<uintptr_t>(address) % kPack == 0; };
    if (aligned(p.mean) && aligned(p.weight) && p.m % kPack == 0 && p.stride % kPack == 0 && 2 * p.m <= kMostShared) {
      wide_product_kernel<<<grid, kBlock, static_cast<size_t>(2 * p.m), stream>>>(p);
      return check_launch("linear: bias of the mean");
    }
  }
  product_kernel<<<grid, kBlock, 0, stream>>>(p);
  check_launch("linear: bias of the mean");
}

// inner: what the half of the front that reads x makes of the mean.
template <class W, class T>
void run(const LinearArgs& a, float* inner, float* bias, cudaStream_t stream) {
  MeanProduct<W, T> p{.mean = a.x_mean.data<T>(), .m = a.x_mean.size(1), .weight = a.weight.data<W>()};
  p.stride = a.weight.stride(0);
  p.out = a.weight.size(0);
  if (a.weight_scale.defined()) p.scale = a.weight_scale.f32();
  p.bias = a.bias.raw();
  p.bias_is_bf16 = a.bias.defined() && a.bias.dtype() == DType::bf16;
  p.y = bias;
  if constexpr (std::is_same_v<W, uint8_t>) {
    if (a.front_columns > 0) {
      const int64_t unused = a.weight_front.size(1) - a.front_columns, in = a.weight.size(1);
      MeanProduct<W, T> down{.mean = p.mean, .m = p.m, .weight = a.weight_down.data<uint8_t>() + unused * in};
      down.stride = in, down.out = a.front_columns, down.alpha = kFoldAlpha, down.y = inner;
      launch(down, a.x.size(0), stream);
      p.front = a.weight_front.data<uint8_t>() + unused;
      p.inner = inner;
      p.columns = static_cast<int32_t>(a.front_columns);
    }
  }
  launch(p, a.x.size(0), stream);
}

}  // namespace

MeanBias::MeanBias(const LinearArgs& args, bool has_slot, ScratchParts& parts) : a_(args), has_slot_(has_slot) {
  if (!a_.x_mean.defined()) return;
  const int64_t batch = a_.x.size(0), size = static_cast<int64_t>(size_of(a_.x_mean.dtype()));
  bias_at_ = parts.add(4 * batch * a_.weight.size(0));
  if (a_.weight_down.defined()) inner_of_front_at_ = parts.add(4 * batch * a_.weight_down.size(0));
  if (!has_slot_) return;
  row_at_ = parts.add(size * batch * a_.weight.size(1));
  inner_at_ = parts.add(size * batch * a_.lora.a.size(0));
}

Tensor MeanBias::make(std::byte* scratch, DeviceFault* fault, cudaStream_t stream) const {
  const Tensor bias(scratch + bias_at_, DType::f32, {a_.x.size(0), a_.weight.size(0)});
  auto* inner = reinterpret_cast<float*>(scratch + inner_of_front_at_);
  switch (a_.weight.dtype()) {
    case DType::f32: run<float, float>(a_, inner, bias.f32(), stream); break;
    case DType::bf16: run<bf16, bf16>(a_, inner, bias.f32(), stream); break;
    default: run<uint8_t, bf16>(a_, inner, bias.f32(), stream);
  }
  if (has_slot_) add_slot(scratch, bias, fault, stream);
  return bias;
}

// The slot reads the mean as one more row of x.
void MeanBias::add_slot(std::byte* scratch, const Tensor& bias, DeviceFault* fault, cudaStream_t stream) const {
  const Tensor row = a_.x_mean.size(1) == a_.weight.size(1) ? a_.x_mean : filled_up(scratch, stream);
  const int64_t batch = bias.size(0);
  lora_down(a_.lora, {row.reshape({batch, 1, row.size(1)}), nullptr}, scratch + inner_at_, fault, stream);
  lora_up(a_.lora, scratch + inner_at_, 0, bias.reshape({batch, 1, bias.size(1)}), LoraWrite::add, nullptr, fault,
          stream);
}

// (B, in): the mean, and zeros where x has none.
Tensor MeanBias::filled_up(std::byte* scratch, cudaStream_t stream) const {
  const Tensor& mean = a_.x_mean;
  const Tensor row(scratch + row_at_, mean.dtype(), {mean.size(0), a_.weight.size(1)});
  const auto bytes_of = [](const Tensor& t) { return size_of(t.dtype()) * static_cast<size_t>(t.size(1)); };
  check_cuda(cudaMemsetAsync(row.raw(), 0, static_cast<size_t>(row.bytes()), stream), "linear: room for the mean");
  check_cuda(cudaMemcpy2DAsync(row.raw(), bytes_of(row), mean.raw(), bytes_of(mean), bytes_of(mean),
                               static_cast<size_t>(mean.size(0)), cudaMemcpyDeviceToDevice, stream),
             "linear: copying the mean");
  return row;
}

}  // namespace fx::cuda
