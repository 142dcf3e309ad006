// RMS norm over heads with rope, in place or to e4m3. For heads of 128 one block takes a token: its queries and keys share
// a row of the rope table.
#include "backends/cuda/cuda_error.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"
#include "backends/cuda/quantize.cuh"

namespace fx::cuda {
namespace {

constexpr int kLaneValues = 8;
constexpr int kHeadSize = 128;                       // that of the fast kernel
constexpr int kHeadLanes = kHeadSize / kLaneValues;  // so a warp has two heads side by side
constexpr int kSideBySide = kWarp / kHeadLanes;
constexpr int kTurns = 2;  // heads of q in a lane, and as many of k: loads in flight
constexpr int kWarpHeads = kTurns * kSideBySide;
constexpr int kMostWarps = 8;  // of a block

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
__device__ void store_lane(Out* p, const float (&v)[kLaneValues]) {
  if constexpr (std::is_same_v<Out, uint8_t>) {
    *reinterpret_cast<uint2*>(p) = make_uint2(to_e4m3x4(v[0], v[1], v[2], v[3]), to_e4m3x4(v[4], v[5], v[6], v[7]));
  } else {
    store(p, v);
  }
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

// A lane's values as they lie in memory.
template <class T>
using LaneWords = uint32_t[kLaneValues * sizeof(T) / 4];

template <class T>
__device__ void widen(const LaneWords<T>& words, float (&v)[kLaneValues]) {
#pragma unroll
  for (int i = 0; i < kLaneValues; ++i) {
    if constexpr (sizeof(T) == 4) v[i] = __uint_as_float(words[i]);
    else v[i] = i % 2 == 0 ? unpack<T>(words[i / 2]).x : unpack<T>(words[i / 2]).y;
  }
}

// What the heads that a lane takes part in are multiplied by, from the squares of its own values. Root and quotient, the
// dearest part, are computed once: each lane does them for one of its heads and tells the others.
__device__ void invert(float (&squares)[2 * kTurns], float eps) {
  static_assert(kHeadLanes % (2 * kTurns) == 0);
#pragma unroll
  for (int distance = kHeadLanes / 2; distance > 0; distance /= 2) {
#pragma unroll
    for (int i = 0; i < 2 * kTurns; ++i) squares[i] += __shfl_xor_sync(0xffffffffu, squares[i], distance);
  }
  const int place = static_cast<int>(threadIdx.x) % (2 * kTurns);
  float mine = squares[0];
#pragma unroll
  for (int i = 1; i < 2 * kTurns; ++i) mine = place == i ? squares[i] : mine;
  mine = 1.0f / sqrtf(mine / static_cast<float>(kHeadSize) + eps);
#pragma unroll
  for (int i = 0; i < 2 * kTurns; ++i) squares[i] = __shfl_sync(0xffffffffu, mine, i, kHeadLanes);
}

// Heads of 128, kWarpHeads of q and of k in each warp. Grid: (L, B, some heads); all loads come before what waits for them.
template <class T, class Out>
__global__ void __launch_bounds__(kMostWarps* kWarp, sizeof(T) == 4 ? 2 : 3)
    qk_norm_rope_128_kernel(Side<T, Out> q, Side<T, Out> k, const float* pe, int heads, float eps) {
  const int64_t token = blockIdx.x, batch = blockIdx.y;
  const int warp = static_cast<int>(blockIdx.z * blockDim.x + threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, column = lane % kHeadLanes * kLaneValues;
  const int head = warp * kWarpHeads + lane / kHeadLanes;  // the first one, then every kSideBySide-th
  if (warp * kWarpHeads >= heads) return;
  LaneWords<T> words[2 * kTurns] = {}, gains[2];  // those of q, then those of k
#pragma unroll
  for (int i = 0; i < 2 * kTurns; ++i) {
    const Heads<T>& in = i < kTurns ? q.in : k.in;
    const int from = head + i % kTurns * kSideBySide;
    if (from < heads) load_words(in.row(batch, token) + from * in.head_stride + column, words[i]);
  }
  float rotation[kLaneValues], inverse[2 * kTurns];  // rotation: cosine and sine of each pair
  load(pe + token * kHeadSize + column, rotation);
  load_words(q.gain + column, gains[0]);
  load_words(k.gain + column, gains[1]);
#pragma unroll
  for (int i = 0; i < 2 * kTurns; ++i) {
    float v[kLaneValues];
    widen<T>(words[i], v);
    inverse[i] = 0;
#pragma unroll
    for (int j = 0; j < kLaneValues; ++j) inverse[i] += v[j] * v[j];
  }
  invert(inverse, eps);
#pragma unroll
  for (int i = 0; i < 2 * kTurns; ++i) {
    const Heads<Out>& out = i < kTurns ? q.out : k.out;
    const int to = head + i % kTurns * kSideBySide;
    float v[kLaneValues], gain[kLaneValues];
    widen<T>(words[i], v);
    widen<T>(gains[i / kTurns], gain);
#pragma unroll
    for (int j = 0; j < kLaneValues; j += 2) {
      const float even = v[j] * inverse[i] * gain[j], odd = v[j + 1] * inverse[i] * gain[j + 1];
      v[j] = even * rotation[j] - odd * rotation[j + 1];
      v[j + 1] = even * rotation[j + 1] + odd * rotation[j];
    }
    if (to < heads) store_lane(out.row(batch, token) + to * out.head_stride + column, v);
  }
}

// Any head size; one head for each warp. blockIdx.y: 0 for q, 1 for k.
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
    const int64_t needed = ceil_div(t.heads, kWarpHeads), blocks = ceil_div(needed, kMostWarps);
    const auto warps = static_cast<unsigned>(ceil_div(needed, blocks));
    const dim3 grid(static_cast<unsigned>(t.tokens), static_cast<unsigned>(t.batch), static_cast<unsigned>(blocks));
    qk_norm_rope_128_kernel<<<grid, warps * kWarp, 0, stream>>>(q, k, a.pe.f32(), static_cast<int>(t.heads), t.eps);
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
