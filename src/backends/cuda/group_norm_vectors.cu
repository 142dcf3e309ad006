// Group norm for pictures of real models. A thread stays with eight neighbouring channels and walks over the pixels of
// its block's chunk, so that all accesses have 16 bytes and what belongs to the channels stays in registers.
#include "backends/cuda/cuda_error.h"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/group_norm.cuh"

namespace fx::cuda {
namespace {

constexpr int kVector = 8;
constexpr int kInFlight = 4;           // pixels that a thread reads before it uses the first
constexpr int64_t kMostChunks = 2048;  // per picture
constexpr int64_t kLeastPixels = 8;    // of a thread

// The place of a thread: its channels, its first pixel, and how many pixels its block takes side by side.
template <class T>
struct Place {
  int vectors, rows, vector, row;
  int64_t begin, end;  // pixels of the chunk, from this thread's first one on
  int64_t offset;      // of its channels in pixel 0

  __device__ Place(const Groups<T>& g, int64_t batch, int64_t chunk)
      : vectors(static_cast<int>(g.channels) / kVector),
        rows(kThreads / vectors),
        vector(static_cast<int>(threadIdx.x) % vectors),
        row(static_cast<int>(threadIdx.x) / vectors),
        begin(g.begin(chunk) + row),
        end(row < rows ? g.begin(chunk + 1) : 0),
        offset(batch * g.pixels * g.channels + vector * kVector) {}
};

// Sums of x - shift, where the shift is the channel's value at the thread's first pixel: near enough to the mean for sums
// of f32 to keep the variance. `per` neighbouring channels are of one group. Grid: (chunks, B).
template <class T, int per>
__global__ void __launch_bounds__(kThreads, 3) moments_kernel(Groups<T> g, float* partial) {
  __shared__ Moments of_thread[kThreads][kVector / per];
  const Place<T> at(g, blockIdx.y, blockIdx.x);
  const T* x = g.x + at.offset;
  float shift[kVector] = {}, sum[kVector] = {}, squares[kVector] = {}, count = 0;
  if (at.begin < at.end) load(x + at.begin * g.channels, shift);
  const auto take = [&](const float(&v)[kVector]) {
    count += 1;
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const float d = v[i] - shift[i];
      sum[i] += d;
      squares[i] += d * d;
    }
  };
  int64_t pixel = at.begin;
  for (; pixel + (kInFlight - 1) * at.rows < at.end; pixel += kInFlight * at.rows) {
    float v[kInFlight][kVector];
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) load(x + (pixel + j * at.rows) * g.channels, v[j]);
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) take(v[j]);
  }
  for (; pixel < at.end; pixel += at.rows) {
    float v[kVector];
    load(x + pixel * g.channels, v);
    take(v);
  }
#pragma unroll
  for (int slot = 0; slot < kVector / per; ++slot) {
    Moments m{};
#pragma unroll
    for (int i = slot * per; i < (slot + 1) * per; ++i) {
      const float mean = count > 0 ? sum[i] / count : 0.0f;
      m.add({count, shift[i] + mean, fmaxf(squares[i] - sum[i] * mean, 0.0f)});
    }
    of_thread[threadIdx.x][slot] = m;
  }
  __syncthreads();
  constexpr int kSlots = kVector / per;
  const int vectors_per_group = static_cast<int>(g.group_size) / per;  // more than one only where per is 8
  for (int group = threadIdx.x; group < g.groups; group += kThreads) {
    Moments m{};
    for (int row = 0; row < at.rows; ++row) {
      for (int i = 0; i < vectors_per_group; ++i) {
        const int part = group * vectors_per_group + i;  // of the picture's parts of `per` channels
        m.add(of_thread[row * at.vectors + part / kSlots][part % kSlots]);
      }
    }
    float* out = partial + g.partial(blockIdx.y, blockIdx.x, group);
    out[0] = m.mean;
    out[1] = m.squares;
  }
}

// Last chunks first: they are what the second-level cache still has of the first pass. Grid: (chunks, B).
template <class T, int per, bool silu>
__global__ void __launch_bounds__(kThreads)
    apply_kernel(Groups<T> g, const float* statistics, const T* gain, const T* bias) {
  const Place<T> at(g, blockIdx.y, gridDim.x - 1 - blockIdx.x);
  if (at.begin >= at.end) return;
  float factor[kVector], offset[kVector], mean[kVector / per];
  load(gain + at.vector * kVector, factor);
  load(bias + at.vector * kVector, offset);
#pragma unroll
  for (int slot = 0; slot < kVector / per; ++slot) {
    const int64_t group = (at.vector * kVector + slot * per) / g.group_size;
    const float* s = statistics + (blockIdx.y * g.groups + group) * 2;
    mean[slot] = s[0];
#pragma unroll
    for (int i = slot * per; i < (slot + 1) * per; ++i) factor[i] *= s[1];
  }
  const T* x = g.x + at.offset;
  T* y = g.y + at.offset;
  for (int64_t pixel = at.begin; pixel < at.end; pixel += kInFlight * at.rows) {
    float v[kInFlight][kVector];
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) {
      if (pixel + j * at.rows < at.end) load(x + (pixel + j * at.rows) * g.channels, v[j]);
    }
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) {
      if (pixel + j * at.rows >= at.end) break;
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        const float value = (v[j][i] - mean[i / per]) * factor[i] + offset[i];
        if constexpr (!silu) v[j][i] = value;
        else v[j][i] = std::is_same_v<T, bf16> ? fast_silu(value) : activate(Activation::silu, value);
      }
      store(y + (pixel + j * at.rows) * g.channels, v[j]);
    }
  }
}

// f(per): how many of a vector's channels are of one group, as a constant.
template <class F>
void dispatch_per(int64_t group_size, F&& f) {
  if (group_size % 8 == 0) f(std::integral_constant<int, 8>());
  else if (group_size == 4) f(std::integral_constant<int, 4>());
  else if (group_size == 2) f(std::integral_constant<int, 2>());
  else f(std::integral_constant<int, 1>());
}

template <class T>
dim3 grid_of(const Groups<T>& g) {
  return dim3(static_cast<unsigned>(g.chunks), static_cast<unsigned>(g.batch));
}

}  // namespace

template <class T>
bool takes_vectors(Groups<T>& g) {
  const int64_t vectors = g.channels / kVector;
  if (g.channels % kVector != 0 || vectors > kThreads || (g.group_size % kVector != 0 && kVector % g.group_size != 0)) {
    return false;
  }
  const int64_t least = kThreads / vectors * kLeastPixels, wanted = ceil_div(g.pixels, kMostChunks);
  g.pixels_per_chunk = least > wanted ? least : wanted;
  g.chunks = ceil_div(g.pixels, g.pixels_per_chunk);
  return true;
}

template <class T>
void vector_moments(const Groups<T>& g, float* partial, cudaStream_t stream) {
  dispatch_per(g.group_size, [&](auto per) {
    moments_kernel<T, decltype(per)::value><<<grid_of(g), kThreads, 0, stream>>>(g, partial);
  });
  check_launch("group_norm: moments of chunks");
}

template <class T>
void vector_apply(const Groups<T>& g, const float* statistics, const T* gain, const T* bias, bool silu,
                  cudaStream_t stream) {
  dispatch_per(g.group_size, [&](auto per) {
    constexpr int kPer = decltype(per)::value;
    if (silu) apply_kernel<T, kPer, true><<<grid_of(g), kThreads, 0, stream>>>(g, statistics, gain, bias);
    else apply_kernel<T, kPer, false><<<grid_of(g), kThreads, 0, stream>>>(g, statistics, gain, bias);
  });
  check_launch("group_norm");
}

template bool takes_vectors(Groups<float>&);
template bool takes_vectors(Groups<bf16>&);
template void vector_moments(const Groups<float>&, float*, cudaStream_t);
template void vector_moments(const Groups<bf16>&, float*, cudaStream_t);
template void vector_apply(const Groups<float>&, const float*, const float*, const float*, bool, cudaStream_t);
template void vector_apply(const Groups<bf16>&, const float*, const bf16*, const bf16*, bool, cudaStream_t);

}  // namespace fx::cuda
