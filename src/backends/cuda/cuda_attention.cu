// o = softmax(scale * q k^T + bias) v. In bf16 without bias and mask through cuDNN's fused kernels, in e4m3 if asked.
// Everything else in two batched products over the heads with a softmax between them; scores of some query rows at a time
// lie in scratch memory, which bounds it for any length.
#include <algorithm>
#include <cmath>

#include "backends/cuda/attention_e4m3.h"
#include "backends/cuda/convert.h"
#include "backends/cuda/cuda_error.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"

namespace fx::cuda {
namespace {

constexpr int64_t kScoreFloats = int64_t{64} << 20;  // 256 MiB of scores at a time
constexpr int kVector = 4;
constexpr int64_t kLargestFusedHead = 128;

template <class T>
struct Softmax {
  float* scores;  // (N, rows, keys)
  int64_t rows, keys, first_row;
  const T* bias;  // (N, Lq, Lk), or null
  int64_t bias_head, bias_row;
  bool causal;
};

template <class T>
__device__ float exponential(float x) {
  return std::is_same_v<T, bf16> ? __expf(x) : expf(x);
}

// In place, a row of weights of T at the beginning of its row of scores; one block per row. Keys that a causal mask hides
// get weight 0. Grid: (rows, N).
template <class T, int n>
__global__ void softmax_kernel(Softmax<T> s) {
  const int64_t row = blockIdx.x, head = blockIdx.y, query = s.first_row + row;
  float* scores = s.scores + (head * s.rows + row) * s.keys;
  const T* bias = s.bias ? s.bias + head * s.bias_head + query * s.bias_row : nullptr;
  const int64_t visible = s.causal ? query + 1 : s.keys;
  const int64_t first = threadIdx.x * n, step = blockDim.x * n;
  const auto read = [&](int64_t j, float(&v)[n]) {
    load(scores + j, v);
    if (bias) {
      float more[n];
      load(bias + j, more);
#pragma unroll
      for (int i = 0; i < n; ++i) v[i] += more[i];
    }
#pragma unroll
    for (int i = 0; i < n; ++i) v[i] = j + i < visible ? v[i] : -INFINITY;
  };
  float v[n], largest = -INFINITY, sum = 0;
  for (int64_t j = first; j < visible; j += step) {
    read(j, v);
#pragma unroll
    for (int i = 0; i < n; ++i) largest = fmaxf(largest, v[i]);
  }
  largest = block_reduce(largest, Maximum());
  for (int64_t j = first; j < visible; j += step) {
    read(j, v);
#pragma unroll
    for (int i = 0; i < n; ++i) sum += exponential<T>(v[i] - largest);
  }
  const float inverse = 1.0f / block_reduce(sum, Sum());
  T* weights = reinterpret_cast<T*>(scores);
  for (int64_t begin = 0; begin < s.keys; begin += step) {
    const int64_t j = begin + first;
    if (j < s.keys) {
      read(j, v);
#pragma unroll
      for (int i = 0; i < n; ++i) v[i] = exponential<T>(v[i] - largest) * inverse;
    }
    // Narrow weights overwrite scores of this turn and of earlier ones, never of later ones.
    if constexpr (sizeof(T) < sizeof(float)) __syncthreads();
    if (j < s.keys) store(weights + j, v);
  }
}

template <class T>
void softmax(const Softmax<T>& s, int64_t heads, bool wide, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(s.rows), static_cast<unsigned>(heads));
  const int64_t needed = ceil_div(ceil_div(s.keys, wide ? kVector : 1), kWarp) * kWarp;
  const auto threads = static_cast<unsigned>(std::min<int64_t>(needed, kThreads));
  if (wide) softmax_kernel<T, kVector><<<grid, threads, 0, stream>>>(s);
  else softmax_kernel<T, 1><<<grid, threads, 0, stream>>>(s);
  check_launch("attention: softmax");
}

template <class T>
void unfused(const AttentionArgs& a, Matmul& matmul, Scratch& scratch, cudaStream_t stream) {
  const int64_t queries = a.q.size(1), heads = a.q.size(2), head_size = a.q.size(3), keys = a.k.size(1);
  const int64_t chunk = std::clamp<int64_t>(kScoreFloats / (heads * keys), 1, queries);
  constexpr int64_t kNarrow = sizeof(float) / sizeof(T);  // weights that fit the place of one score
  const bool wide = keys % kVector == 0 && fit_vectors(kVector, a.bias);
  float* scores = scratch.floats(heads * chunk * keys);
  for (int64_t b = 0; b < a.q.size(0); ++b) {
    for (int64_t first = 0; first < queries; first += chunk) {
      const int64_t rows = std::min(chunk, queries - first);
      matmul.run({.m = rows,
                  .n = keys,
                  .k = head_size,
                  .x = a.q.data<T>() + b * a.q.stride(0) + first * a.q.stride(1),
                  .x_stride = a.q.stride(1),
                  .w = a.k.data<T>() + b * a.k.stride(0),
                  .w_stride = a.k.stride(1),
                  .y = scores,
                  .y_stride = keys,
                  .batches = heads,
                  .x_batch = a.q.stride(2),
                  .w_batch = a.k.stride(2),
                  .y_batch = rows * keys,
                  .alpha = a.scale,
                  .type = a.q.dtype()});
      Softmax<T> s{.scores = scores, .rows = rows, .keys = keys, .first_row = first, .causal = a.causal};
      if (a.bias.defined()) {
        s.bias = a.bias.data<T>();
        s.bias_head = a.bias.stride(0);
        s.bias_row = a.bias.stride(1);
      }
      softmax(s, heads, wide, stream);
      matmul.run({.m = rows,
                  .n = head_size,
                  .k = keys,
                  .x = scores,
                  .x_stride = kNarrow * keys,
                  .w = a.v.data<T>() + b * a.v.stride(0),
                  .w_stride = a.v.stride(1),
                  .w_has_k_rows = true,
                  .y = a.o.data<T>() + b * a.o.stride(0) + first * a.o.stride(1),
                  .y_stride = a.o.stride(1),
                  .batches = heads,
                  .x_batch = kNarrow * rows * keys,
                  .w_batch = a.v.stride(2),
                  .y_batch = a.o.stride(2),
                  .type = a.q.dtype(),
                  .y_type = a.q.dtype()});
    }
  }
}

SdpaProblem fused_problem(const AttentionArgs& a) {
  return {.batch = a.q.size(0),
          .heads = a.q.size(2),
          .queries = a.q.size(1),
          .keys = a.k.size(1),
          .head_size = a.q.size(3),
          .q = a.q.raw(),
          .k = a.k.raw(),
          .v = a.v.raw(),
          .o = a.o.raw(),
          .q_strides = strides_of(a.q),
          .k_strides = strides_of(a.k),
          .v_strides = strides_of(a.v),
          .o_strides = strides_of(a.o),
          .scale = a.scale};
}

bool may_fuse(const AttentionArgs& a) {
  return a.v.dtype() == DType::bf16 && !a.bias.defined() && !a.causal && a.q.size(3) <= kLargestFusedHead &&
         fit_vectors(8, a.v, a.o) && (a.q.dtype() == DType::f8_e4m3 || fit_vectors(8, a.q, a.k));
}

// Queries and keys that came in e4m3, for a device or shape without e4m3 attention.
AttentionArgs widened(const AttentionArgs& a, std::byte* memory, cudaStream_t stream) {
  AttentionArgs wide = a;
  wide.e4m3 = false;
  wide.o_mean = {};
  for (const auto& [from, to] : {std::pair{&a.q, &wide.q}, std::pair{&a.k, &wide.k}}) {
    *to = Tensor(memory, DType::bf16, from->shape());
    const Shape rows = {from->size(0), from->size(1), from->size(2) * from->size(3)};
    convert_rows(from->reshape(rows), Tensor(), DType::bf16, memory, stream);
    memory += to->bytes();
  }
  return wide;
}

}  // namespace

std::array<int64_t, 3> strides_of(const Tensor& t) {
  const int64_t head = t.size(2) > 1 ? t.stride(2) : t.size(3);
  const int64_t row = t.size(1) > 1 ? t.stride(1) : t.size(2) * head;
  return {t.size(0) > 1 ? t.stride(0) : t.size(1) * row, row, head};
}

void CudaOps::do_attention(const AttentionArgs& a) {
  if (a.q.count() == 0) return;
  const bool fuses = options_.fused_attention && may_fuse(a);
  if (a.e4m3 && fuses && E4m3Attention::takes(a)) {
    const E4m3Attention narrow(a, scratch_);
    if (sdpa_.supports_fp8(narrow.problem())) {
      narrow.quantize(stream());
      sdpa_.run_fp8(narrow.problem(), narrow.scales());
      narrow.widen(stream());
      return;
    }
  }
  if (a.o_mean.defined()) {
    check_cuda(cudaMemsetAsync(a.o_mean.raw(), 0, static_cast<size_t>(a.o_mean.bytes()), stream()),
               "attention: no mean");
  }
  if (a.q.dtype() == DType::f8_e4m3) {
    // Not in scratch memory, which the attention itself may use.
    return do_attention(widened(a, widened_.bytes(2 * (a.q.count() + a.k.count())), stream()));
  }
  if (fuses) {
    const SdpaProblem problem = fused_problem(a);
    if (sdpa_.supports_bf16(problem)) return sdpa_.run_bf16(problem);
  }
  dispatch(a.q.dtype(), [&](auto type) { unfused<typename decltype(type)::type>(a, matmul_, scratch_, stream()); });
}

}  // namespace fx::cuda
