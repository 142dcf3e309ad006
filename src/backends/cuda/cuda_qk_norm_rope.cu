// RMS norm over heads with rope, in place or to e4m3. One warp takes some heads of one token, which share its row of the rope table.
#include "backends/cuda/cuda_error.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"
#include "backends/cuda/quantize.cuh"

namespace fx::cuda {
namespace {

constexpr int kLaneValues = 4;
constexpr int kHeadSize = kWarp * kLaneValues;  // that of the fast kernel
constexpr int kHeadsPerWarp = 4;                // loads in flight

// q or k, or where one of them goes: (B, L, N, D).
template <class T>
struct Heads {
  T* base;
  int64_t batch_stride, row_stride, head_stride;

  explicit Heads(const Tensor& t)
      : base(t.data<T>()), batch_stride(t.stride(0)), row_stride(t.stride(1)), head_stride(t.stride(2)) {}
  __device__ T* row(int64_t batch, int64_t token) const { return base + batch * batch_stride + token * row_stride; }
};

// Out is T, or uint8_t for e4m3.
template <class T, class Out>
struct Side {
  Heads<T> in;
  Heads<Out> out;
  const T* gain;

  Side(const Tensor& t, const Tensor& result, const Tensor& head_gain)
      : in(t), out(result.defined() ? result : t), gain(head_gain.data<T>()) {}
};

template <class Out>
__device__ void store_heads(Out* p, const float (&v)[kLaneValues]) {
  if constexpr (std::is_same_v<Out, uint8_t>) *reinterpret_cast<uint32_t*>(p) = to_e4m3x4(v[0], v[1], v[2], v[3]);
  else store(p, v);
}
template <class Out>
__device__ Out narrowed(float value) {
  if constexpr (std::is_same_v<Out, uint8_t>) return to_e4m3(value);
  else return from_float<Out>(value);
}

struct Tokens {
  int64_t batch, tokens, heads;
  float eps;
};

// blockIdx.y: 0 for q, 1 for k. Heads of 128, kHeadsPerWarp at a time, 4 values in each lane.
template <class T, class Out>
__global__ void qk_norm_rope_128_kernel(Side<T, Out> q, Side<T, Out> k, const float* pe, Tokens t) {
  const int64_t groups = (t.heads + kHeadsPerWarp - 1) / kHeadsPerWarp;
  const int64_t index = first_element() / kWarp;
  if (index >= t.batch * t.tokens * groups) return;
  const int64_t row = index / groups, token = row % t.tokens, first = index % groups * kHeadsPerWarp;
  const int column = static_cast<int>(threadIdx.x) % kWarp * kLaneValues;
  const Side<T, Out> h = blockIdx.y == 0 ? q : k;
  const T* x = h.in.row(row / t.tokens, token) + first * h.in.head_stride + column;
  Out* y = h.out.row(row / t.tokens, token) + first * h.out.head_stride + column;
  float v[kHeadsPerWarp][kLaneValues] = {}, gain[kLaneValues], rotation[kLaneValues];
#pragma unroll
  for (int i = 0; i < kHeadsPerWarp; ++i) {
    if (first + i < t.heads) load(x + i * h.in.head_stride, v[i]);
  }
  load(h.gain + column, gain);
  load(pe + token * kHeadSize + column, rotation);  // cosine and sine of two pairs
#pragma unroll
  for (int i = 0; i < kHeadsPerWarp; ++i) {
    const float squares = v[i][0] * v[i][0] + v[i][1] * v[i][1] + v[i][2] * v[i][2] + v[i][3] * v[i][3];
    const float inverse = 1.0f / sqrtf(warp_reduce(squares, Sum()) / static_cast<float>(kHeadSize) + t.eps);
#pragma unroll
    for (int j = 0; j < kLaneValues; j += 2) {
      const float even = v[i][j] * inverse * gain[j], odd = v[i][j + 1] * inverse * gain[j + 1];
      v[i][j] = even * rotation[j] - odd * rotation[j + 1];
      v[i][j + 1] = even * rotation[j + 1] + odd * rotation[j];
    }
    if (first + i < t.heads) store_heads(y + i * h.out.head_stride, v[i]);
  }
}

// Any head size; one head for each warp.
template <class T, class Out>
__global__ void qk_norm_rope_kernel(Side<T, Out> q, Side<T, Out> k, const float* pe, Tokens t, int64_t head_size) {
  const int64_t index = first_element() / kWarp, lane = threadIdx.x % kWarp;
  if (index >= t.batch * t.tokens * t.heads) return;
  const Side<T, Out> h = blockIdx.y == 0 ? q : k;
  const int64_t row = index / t.heads, token = row % t.tokens;
  const T* x = h.in.row(row / t.tokens, token) + index % t.heads * h.in.head_stride;
  Out* y = h.out.row(row / t.tokens, token) + index % t.heads * h.out.head_stride;
  const float* rotation = pe + token * head_size;  // (D/2, 2): cosine and sine
  float squares = 0;
  for (int64_t d = lane; d < head_size; d += kWarp) squares += to_float(x[d]) * to_float(x[d]);
  const float inverse = 1.0f / sqrtf(warp_reduce(squares, Sum()) / static_cast<float>(head_size) + t.eps);
  for (int64_t d = 2 * lane; d < head_size; d += 2 * kWarp) {
    const float cosine = rotation[d], sine = rotation[d + 1];
    const float even = to_float(x[d]) * inverse * to_float(h.gain[d]);
    const float odd = to_float(x[d + 1]) * inverse * to_float(h.gain[d + 1]);
    y[d] = narrowed<Out>(even * cosine - odd * sine);
    y[d + 1] = narrowed<Out>(even * sine + odd * cosine);
  }
}

dim3 warps_for(int64_t warps) { return dim3(static_cast<unsigned>(ceil_div(warps * kWarp, kThreads)), 2); }

template <class T, class Out>
void launch(const QkNormRopeArgs& a, bool fast, cudaStream_t stream) {
  const Tokens t{.batch = a.q.size(0), .tokens = a.q.size(1), .heads = a.q.size(2), .eps = a.eps};
  const int64_t rows = t.batch * t.tokens;
  const Side<T, Out> q(a.q, a.q_out, a.q_gain), k(a.k, a.k_out, a.k_gain);
  if (fast) {
    const int64_t warps = rows * ceil_div(t.heads, kHeadsPerWarp);
    qk_norm_rope_128_kernel<<<warps_for(warps), kThreads, 0, stream>>>(q, k, a.pe.f32(), t);
  } else {
    qk_norm_rope_kernel<<<warps_for(rows * t.heads), kThreads, 0, stream>>>(q, k, a.pe.f32(), t, a.q.size(3));
  }
}

}  // namespace

void CudaOps::do_qk_norm_rope(const QkNormRopeArgs& a) {
  if (a.q.count() == 0) return;
  const bool fast = a.q.size(3) == kHeadSize && fit_vectors(kLaneValues, a.q, a.k, a.q_gain, a.k_gain) &&
                    fit_vectors(kLaneValues, a.q_out, a.k_out) && reinterpret_cast<uintptr_t>(a.pe.raw()) % 16 == 0;
  if (a.q_out.defined()) {
    launch<bf16, uint8_t>(a, fast, stream());
  } else {
    dispatch(a.q.dtype(), [&](auto type) {
      using T = typename decltype(type)::type;
      launch<T, T>(a, fast, stream());
    });
  }
  check_launch("qk_norm_rope");
}

}  // namespace fx::cuda
