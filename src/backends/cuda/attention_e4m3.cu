#include "backends/cuda/attention_e4m3.h"

#include "backends/cuda/cuda_error.h"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"
#include "backends/cuda/quantize.cuh"
#include "backends/cuda/value_means.h"

namespace fx::cuda {

// Written anew by each call.
struct E4m3Attention::Numbers {
  struct alignas(16) Number {  // cuDNN wants its tensors so, even those of one number
    float value;
  };
  Number one, descale_v, descale_s, scale_s, scale_v, amax_s, amax_o;
};

namespace {

using Numbers = E4m3Attention::Numbers;

constexpr int kVector = 8;
constexpr int kMostThreads = 512;
constexpr int kRows = 4;                // that a thread reads before it uses the first
constexpr float kWeightScale = 256.0f;  // weights of a softmax are at most 1

// (B, L, N, D) as rows of N * D channels: the heads lie side by side.
__device__ bf16* entry(const RowsOf<bf16>& rows, int64_t batch, int64_t row) {
  return rows.base + batch * rows.batch_stride + row * rows.row_stride;
}

// What values are multiplied by. All threads of a block take part.
__device__ float value_scale(const float* reach, int count) {
  float largest = 0;
  for (int i = threadIdx.x; i < count; i += blockDim.x) largest = fmaxf(largest, reach[i]);
  return inverse_scale(row_scale(block_reduce(largest, Maximum())));
}

// What is known of the values.
struct Values {
  const bf16* means;   // (B, channels)
  const float* reach;  // the largest is the largest |v - mean|
  int reach_count;
};

// Grid: (blocks of kRows tokens, B, parts): q, k, v, or v alone. Each row of `narrow` has its parts one after the other.
__global__ void __launch_bounds__(kMostThreads)
    quantize_kernel(RowsOf<bf16> q, RowsOf<bf16> k, RowsOf<bf16> v, int channels, Values values, Numbers* numbers,
                    uint8_t* narrow) {
  const int parts = gridDim.z, which = blockIdx.z + 3 - parts;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kRows, batch = blockIdx.y;
  const RowsOf<bf16> x = which == 0 ? q : which == 1 ? k : v;
  const int rows = static_cast<int>(min(static_cast<int64_t>(kRows), x.per_batch - first));
  uint8_t* out = narrow + ((batch * x.per_batch + first) * parts + blockIdx.z) * channels;
  uint32_t words[kRows][kVector / 2];
  const auto read = [&](int c) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      load_words(entry(x, batch, first + min(r, rows - 1)) + c, words[r]);  // all at once; spare ones read a row again
    }
  };
  int c = threadIdx.x * kVector;
  if (c < channels) read(c);  // on its way while the scale is found
  float scale = 1;
  if (which == 2) {
    scale = value_scale(values.reach, values.reach_count);
    if (blockIdx.x == 0 && batch == 0 && threadIdx.x == 0) {
      numbers->one.value = 1;
      numbers->descale_v.value = inverse_scale(scale);
      numbers->descale_s.value = 1 / kWeightScale;
      numbers->scale_s.value = kWeightScale;
      numbers->scale_v.value = scale;
    }
  }
  while (c < channels) {
    float mean[kVector] = {};
    if (which == 2) load(values.means + batch * channels + c, mean);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r >= rows) break;
      float f[kVector];
#pragma unroll
      for (int i = 0; i < kVector; i += 2) {
        const float2 pair = unpack<bf16>(words[r][i / 2]);
        f[i] = (pair.x - mean[i]) * scale;
        f[i + 1] = (pair.y - mean[i + 1]) * scale;
      }
      *reinterpret_cast<uint2*>(out + static_cast<int64_t>(r) * parts * channels + c) =
          make_uint2(to_e4m3x4(f[0], f[1], f[2], f[3]), to_e4m3x4(f[4], f[5], f[6], f[7]));
    }
    c += static_cast<int>(blockDim.x) * kVector;
    if (c < channels) read(c);
  }
}

// Grid: (blocks of kRows tokens, B). Without `means` none are added.
__global__ void __launch_bounds__(kMostThreads)
    widen_kernel(const uint8_t* from, RowsOf<bf16> to, int channels, const bf16* means, const Numbers* numbers) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kRows, batch = blockIdx.y;
  const float scale = numbers->descale_v.value;
  const int rows = static_cast<int>(min(static_cast<int64_t>(kRows), to.per_batch - first));
  const uint8_t* in = from + (batch * to.per_batch + first) * channels;
  for (int c = threadIdx.x * kVector; c < channels; c += blockDim.x * kVector) {
    float mean[kVector] = {};
    if (means) load(means + batch * channels + c, mean);
    uint2 packed[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r < rows) packed[r] = *reinterpret_cast<const uint2*>(in + static_cast<int64_t>(r) * channels + c);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r >= rows) break;
      const uint32_t words[2] = {packed[r].x, packed[r].y};
      float value[kVector];
#pragma unroll
      for (int i = 0; i < kVector / 2; ++i) {
        const float2 pair = from_e4m3x2(static_cast<uint16_t>(words[i / 2] >> (i % 2 * 16)));
        value[2 * i] = fmaf(pair.x, scale, mean[2 * i]);
        value[2 * i + 1] = fmaf(pair.y, scale, mean[2 * i + 1]);
      }
      store(entry(to, batch, first + r) + c, value);
    }
  }
}

unsigned threads_for(int64_t channels) {
  const int64_t threads = ceil_div(channels, kVector * kWarp) * kWarp;
  return static_cast<unsigned>(threads < kMostThreads ? threads : kMostThreads);
}

}  // namespace

bool E4m3Attention::takes(const AttentionArgs& a) {
  const int64_t head_size = a.q.size(3);
  const bool narrow = a.q.dtype() == DType::f8_e4m3;
  if (narrow && !(fit_vectors(kVector, a.v, a.o) && fit_vectors(16, a.q, a.k))) return false;
  const auto side_by_side = [&](const Tensor& t) { return t.size(2) == 1 || t.stride(2) == head_size; };
  return a.q.size(1) == a.k.size(1) && head_size % 16 == 0 && fits_vectors(kVector, a.o_mean) &&
         (narrow || fit_vectors(kVector, a.q, a.k, a.v, a.o)) && side_by_side(a.q) && side_by_side(a.k) &&
         side_by_side(a.v) && side_by_side(a.o);
}

E4m3Attention::E4m3Attention(const AttentionArgs& args, Scratch& scratch)
    : args_(args),
      batch_(args.q.size(0)),
      tokens_(args.q.size(1)),
      channels_(args.q.size(2) * args.q.size(3)),
      parts_(args.q.dtype() == DType::f8_e4m3 ? 1 : 3) {
  ScratchParts parts;
  const int64_t one = batch_ * tokens_ * channels_;
  const int64_t numbers = parts.add(sizeof(Numbers)), reach = parts.add(4 * reach_count(batch_, channels_));
  const int64_t means = parts.add(2 * batch_ * channels_), narrow = parts.add(parts_ * one), o = parts.add(one);
  std::byte* memory = scratch.bytes(parts.bytes());
  numbers_ = reinterpret_cast<Numbers*>(memory + numbers);
  reach_ = reinterpret_cast<float*>(memory + reach);
  means_ = args.o_mean.defined() ? args.o_mean.data<bf16>() : reinterpret_cast<bf16*>(memory + means);
  narrow_ = reinterpret_cast<uint8_t*>(memory + narrow);
  o_ = reinterpret_cast<uint8_t*>(memory + o);
}

SdpaProblem E4m3Attention::problem() const {
  const int64_t head_size = args_.q.size(3), wide = parts_ * channels_;
  const std::array<int64_t, 3> strides = {tokens_ * wide, wide, head_size};
  SdpaProblem problem{.batch = batch_,
                      .heads = args_.q.size(2),
                      .queries = tokens_,
                      .keys = tokens_,
                      .head_size = head_size,
                      .q = narrow_,
                      .k = narrow_ + channels_,
                      .v = narrow_ + (parts_ - 1) * channels_,
                      .o = o_,
                      .q_strides = strides,
                      .k_strides = strides,
                      .v_strides = strides,
                      .o_strides = {tokens_ * channels_, channels_, head_size},
                      .scale = args_.scale};
  if (parts_ == 1) {
    problem.q = args_.q.raw(), problem.k = args_.k.raw();
    problem.q_strides = strides_of(args_.q), problem.k_strides = strides_of(args_.k);
  }
  return problem;
}

Fp8Scales E4m3Attention::scales() const {
  Numbers* n = numbers_;
  return {.descale_q = &n->one.value,
          .descale_k = &n->one.value,
          .descale_v = &n->descale_v.value,
          .descale_s = &n->descale_s.value,
          .scale_s = &n->scale_s.value,
          .scale_o = &n->scale_v.value,
          .amax_s = &n->amax_s.value,
          .amax_o = &n->amax_o.value};
}

void E4m3Attention::quantize(cudaStream_t stream) const {
  find_means(args_.v, means_, reach_, stream);
  const dim3 grid(static_cast<unsigned>(ceil_div(tokens_, kRows)), static_cast<unsigned>(batch_),
                  static_cast<unsigned>(parts_));
  const Values values{means_, reach_, static_cast<int>(reach_count(batch_, channels_))};
  quantize_kernel<<<grid, threads_for(channels_), 0, stream>>>(RowsOf<bf16>(args_.q), RowsOf<bf16>(args_.k),
                                                               RowsOf<bf16>(args_.v), static_cast<int>(channels_),
                                                               values, numbers_, narrow_);
  check_launch("attention: to e4m3");
}

void E4m3Attention::widen(cudaStream_t stream) const {
  const dim3 grid(static_cast<unsigned>(ceil_div(tokens_, kRows)), static_cast<unsigned>(batch_));
  widen_kernel<<<grid, threads_for(channels_), 0, stream>>>(o_, RowsOf<bf16>(args_.o), static_cast<int>(channels_),
                                                            args_.o_mean.defined() ? nullptr : means_, numbers_);
  check_launch("attention: from e4m3");
}

}  // namespace fx::cuda
