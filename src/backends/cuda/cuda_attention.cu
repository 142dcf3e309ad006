// o = softmax(scale * q k^T + bias) v: two batched products over the heads with a softmax between them. Scores of some
// query rows at a time lie in scratch memory, which bounds it for any length.
#include <algorithm>
#include <cmath>

#include "backends/cuda/cuda_error.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"

namespace fx::cuda {
namespace {

constexpr int64_t kScoreFloats = int64_t{64} << 20;  // 256 MiB of scores at a time

struct Softmax {
  float* scores;  // (N, rows, keys)
  int64_t rows, keys, first_row;
  const float* bias;  // (N, Lq, Lk), or null
  int64_t bias_head, bias_row;
  bool causal;
};

// In place; one block per row. Keys that a causal mask hides get weight 0. Grid: (rows, N).
__global__ void softmax_kernel(Softmax s) {
  const int64_t row = blockIdx.x, head = blockIdx.y, query = s.first_row + row;
  float* scores = s.scores + (head * s.rows + row) * s.keys;
  const float* bias = s.bias ? s.bias + head * s.bias_head + query * s.bias_row : nullptr;
  const int64_t visible = s.causal ? query + 1 : s.keys;
  float largest = -INFINITY;
  for (int64_t j = threadIdx.x; j < visible; j += blockDim.x) {
    if (bias) scores[j] += bias[j];
    largest = fmaxf(largest, scores[j]);
  }
  largest = block_reduce(largest, Maximum());
  float sum = 0;
  for (int64_t j = threadIdx.x; j < visible; j += blockDim.x) sum += scores[j] = expf(scores[j] - largest);
  sum = block_reduce(sum, Sum());
  for (int64_t j = threadIdx.x; j < s.keys; j += blockDim.x) scores[j] = j < visible ? scores[j] / sum : 0.0f;
}

}  // namespace

void CudaOps::do_attention(const AttentionArgs& a) {
  if (a.q.count() == 0) return;
  const int64_t queries = a.q.size(1), heads = a.q.size(2), head_size = a.q.size(3), keys = a.k.size(1);
  const int64_t chunk = std::clamp<int64_t>(kScoreFloats / (heads * keys), 1, queries);
  float* scores = scratch_.floats(heads * chunk * keys);
  for (int64_t b = 0; b < a.q.size(0); ++b) {
    const float* k = a.k.f32() + b * a.k.stride(0);
    const float* v = a.v.f32() + b * a.v.stride(0);
    for (int64_t first = 0; first < queries; first += chunk) {
      const int64_t rows = std::min(chunk, queries - first);
      matmul_.run({.m = rows,
                   .n = keys,
                   .k = head_size,
                   .x = a.q.f32() + b * a.q.stride(0) + first * a.q.stride(1),
                   .x_stride = a.q.stride(1),
                   .w = k,
                   .w_stride = a.k.stride(1),
                   .y = scores,
                   .y_stride = keys,
                   .batches = heads,
                   .x_batch = a.q.stride(2),
                   .w_batch = a.k.stride(2),
                   .y_batch = rows * keys,
                   .alpha = a.scale});
      Softmax softmax{.scores = scores, .rows = rows, .keys = keys, .first_row = first, .causal = a.causal};
      if (a.bias.defined()) {
        softmax.bias = a.bias.f32();
        softmax.bias_head = a.bias.stride(0);
        softmax.bias_row = a.bias.stride(1);
      }
      const dim3 grid(static_cast<unsigned>(rows), static_cast<unsigned>(heads));
      softmax_kernel<<<grid, kThreads, 0, stream()>>>(softmax);
      check_launch("attention: softmax");
      matmul_.run({.m = rows,
                   .n = head_size,
                   .k = keys,
                   .x = scores,
                   .x_stride = keys,
                   .w = v,
                   .w_stride = a.v.stride(1),
                   .w_has_k_rows = true,
                   .y = a.o.f32() + b * a.o.stride(0) + first * a.o.stride(1),
                   .y_stride = a.o.stride(1),
                   .batches = heads,
                   .x_batch = rows * keys,
                   .w_batch = a.v.stride(2),
                   .y_batch = a.o.stride(2)});
    }
  }
}

}  // namespace fx::cuda
