// Norms over channels (one block per row) and over heads with rope (one warp per head). Statistics are taken in two
// passes; the row lies in the first-level cache by the second.
#include "backends/cuda/cuda_error.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"

namespace fx::cuda {
namespace {

struct Moments {
  float mean, inverse_deviation;
};

__device__ Moments moments(const float* x, int64_t channels, float eps) {
  float sum = 0;
  for (int64_t c = threadIdx.x; c < channels; c += blockDim.x) sum += x[c];
  const float mean = block_reduce(sum, Sum()) / static_cast<float>(channels);
  float squares = 0;
  for (int64_t c = threadIdx.x; c < channels; c += blockDim.x) squares += (x[c] - mean) * (x[c] - mean);
  const float variance = block_reduce(squares, Sum()) / static_cast<float>(channels);
  return {mean, 1.0f / sqrtf(variance + eps)};
}

__global__ void ln_modulate_kernel(Rows x, StepRows shift_rows, StepRows scale_rows, Rows y, int64_t channels,
                                   float eps, DeviceFault* fault) {
  const int64_t row = blockIdx.x, batch = row / x.per_batch;
  const float *shift = shift_rows.row(batch, fault), *scale = scale_rows.row(batch, fault);
  const float* in = x[row];
  float* out = y[row];
  const Moments m = moments(in, channels, eps);
  for (int64_t c = threadIdx.x; c < channels; c += blockDim.x) {
    out[c] = (in[c] - m.mean) * m.inverse_deviation * (1.0f + scale[c]) + shift[c];
  }
}

__global__ void layer_norm_kernel(Rows x, const float* gain, const float* bias, Rows y, int64_t channels, float eps) {
  const float* in = x[blockIdx.x];
  float* out = y[blockIdx.x];
  const Moments m = moments(in, channels, eps);
  for (int64_t c = threadIdx.x; c < channels; c += blockDim.x) {
    out[c] = (in[c] - m.mean) * m.inverse_deviation * gain[c] + bias[c];
  }
}

__global__ void rms_norm_kernel(Rows x, const float* gain, Rows y, int64_t channels, float eps) {
  const float* in = x[blockIdx.x];
  float* out = y[blockIdx.x];
  float squares = 0;
  for (int64_t c = threadIdx.x; c < channels; c += blockDim.x) squares += in[c] * in[c];
  const float inverse = 1.0f / sqrtf(block_reduce(squares, Sum()) / static_cast<float>(channels) + eps);
  for (int64_t c = threadIdx.x; c < channels; c += blockDim.x) out[c] = in[c] * inverse * gain[c];
}

// q or k: (B, L, N, D).
struct Heads {
  float* base;
  int64_t batch_stride, row_stride, head_stride;
  const float* gain;

  Heads(const Tensor& t, const Tensor& head_gain)
      : base(t.f32()),
        batch_stride(t.stride(0)),
        row_stride(t.stride(1)),
        head_stride(t.stride(2)),
        gain(head_gain.f32()) {}
};

// blockIdx.y: 0 for q, 1 for k. One warp takes one head of one token.
__global__ void qk_norm_rope_kernel(Heads q, Heads k, const float* pe, int64_t batch, int64_t tokens, int64_t heads,
                                    int64_t head_size, float eps) {
  const int64_t index = first_element() / kWarp, lane = threadIdx.x % kWarp;
  if (index >= batch * tokens * heads) return;
  const Heads& h = blockIdx.y == 0 ? q : k;
  const int64_t n = index % heads, l = index / heads % tokens, b = index / heads / tokens;
  float* x = h.base + b * h.batch_stride + l * h.row_stride + n * h.head_stride;
  const float* rotation = pe + l * head_size;  // (D/2, 2): cosine and sine
  float squares = 0;
  for (int64_t d = lane; d < head_size; d += kWarp) squares += x[d] * x[d];
  const float inverse = 1.0f / sqrtf(warp_reduce(squares, Sum()) / static_cast<float>(head_size) + eps);
  for (int64_t d = 2 * lane; d < head_size; d += 2 * kWarp) {
    const float cosine = rotation[d], sine = rotation[d + 1];
    const float even = x[d] * inverse * h.gain[d], odd = x[d + 1] * inverse * h.gain[d + 1];
    x[d] = even * cosine - odd * sine;
    x[d + 1] = even * sine + odd * cosine;
  }
}

unsigned rows_of(const Tensor& t) { return static_cast<unsigned>(t.size(0) * t.size(1)); }

}  // namespace

void CudaOps::do_ln_modulate(const LnModulateArgs& a) {
  if (a.x.count() == 0) return;
  ln_modulate_kernel<<<rows_of(a.x), kThreads, 0, stream()>>>(Rows(a.x), StepRows(a.shift), StepRows(a.scale),
                                                              Rows(a.y), a.x.size(2), a.eps, fault());
  check_launch("ln_modulate");
}

void CudaOps::do_layer_norm(const LayerNormArgs& a) {
  if (a.x.count() == 0) return;
  layer_norm_kernel<<<rows_of(a.x), kThreads, 0, stream()>>>(Rows(a.x), a.gain.f32(), a.bias.f32(), Rows(a.y),
                                                             a.x.size(2), a.eps);
  check_launch("layer_norm");
}

void CudaOps::do_rms_norm(const RmsNormArgs& a) {
  if (a.x.count() == 0) return;
  rms_norm_kernel<<<rows_of(a.x), kThreads, 0, stream()>>>(Rows(a.x), a.gain.f32(), Rows(a.y), a.x.size(2), a.eps);
  check_launch("rms_norm");
}

void CudaOps::do_qk_norm_rope(const QkNormRopeArgs& a) {
  if (a.q.count() == 0) return;
  const int64_t batch = a.q.size(0), tokens = a.q.size(1), heads = a.q.size(2);
  const dim3 grid(static_cast<unsigned>(ceil_div(batch * tokens * heads * kWarp, kThreads)), 2);
  qk_norm_rope_kernel<<<grid, kThreads, 0, stream()>>>(Heads(a.q, a.q_gain), Heads(a.k, a.k_gain), a.pe.f32(), batch,
                                                       tokens, heads, a.q.size(3), a.eps);
  check_launch("qk_norm_rope");
}

}  // namespace fx::cuda
