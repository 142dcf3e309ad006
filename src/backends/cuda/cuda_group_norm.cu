// Group norm over (H, W, C / groups), channels last. A group has up to millions of elements, so it is cut into chunks of
// pixels: one kernel takes each chunk's mean and squared deviations, one combines them in a fixed order, one applies.
// Here are the kernels for any sizes, where a block takes one group of a chunk.
#include "backends/cuda/cuda_error.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/group_norm.cuh"

namespace fx::cuda {
namespace {

constexpr int64_t kChunkElements = 8192;
constexpr int64_t kMostChunks = 128;

// A chunk of one group of one picture: `count` elements.
template <class T>
struct Chunk {
  const T* base;
  int64_t count, group_size, channels;
  __device__ Chunk(const Groups<T>& g, int64_t batch, int64_t group, int64_t chunk)
      : base(g.x + (batch * g.pixels + g.begin(chunk)) * g.channels + group * g.group_size),
        count((g.begin(chunk + 1) - g.begin(chunk)) * g.group_size),
        group_size(g.group_size),
        channels(g.channels) {}
  __device__ float operator[](int64_t i) const { return to_float(base[i / group_size * channels + i % group_size]); }
};

// Grid: (chunks, groups, B).
template <class T>
__global__ void chunk_moments_kernel(Groups<T> g, float* partial) {
  const Chunk<T> x(g, blockIdx.z, blockIdx.y, blockIdx.x);
  float sum = 0;
  for (int64_t i = threadIdx.x; i < x.count; i += blockDim.x) sum += x[i];
  const float mean = block_reduce(sum, Sum()) / static_cast<float>(x.count > 0 ? x.count : 1);
  float squares = 0;
  for (int64_t i = threadIdx.x; i < x.count; i += blockDim.x) squares += (x[i] - mean) * (x[i] - mean);
  squares = block_reduce(squares, Sum());
  if (threadIdx.x != 0) return;
  float* out = partial + g.partial(blockIdx.z, blockIdx.x, blockIdx.y);
  out[0] = mean;
  out[1] = squares;
}

// statistics: (B, groups, 2): mean and inverse deviation. Each thread adds up some chunks, the first one all of theirs.
// Grid: (groups, B).
template <class T>
__global__ void __launch_bounds__(kThreads)
    combine_moments_kernel(Groups<T> g, const float* partial, float* statistics, float eps) {
  __shared__ Moments of_warp[kThreads / kWarp];
  Moments m{};
  for (int64_t chunk = threadIdx.x; chunk < g.chunks; chunk += kThreads) {
    const float* p = partial + g.partial(blockIdx.y, chunk, blockIdx.x);
    m.add({static_cast<float>((g.begin(chunk + 1) - g.begin(chunk)) * g.group_size), p[0], p[1]});
  }
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    m.add({__shfl_down_sync(0xffffffffu, m.count, distance), __shfl_down_sync(0xffffffffu, m.mean, distance),
           __shfl_down_sync(0xffffffffu, m.squares, distance)});
  }
  if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = m;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int warp = 1; warp < kThreads / kWarp; ++warp) m.add(of_warp[warp]);
  float* out = statistics + (blockIdx.y * g.groups + blockIdx.x) * 2;
  out[0] = m.mean;
  out[1] = 1.0f / sqrtf(m.squares / m.count + eps);
}

template <class T>
__global__ void apply_kernel(Groups<T> g, const float* statistics, const T* gain, const T* bias, bool silu,
                             int64_t count) {
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    const int64_t channel = i % g.channels, batch = i / g.channels / g.pixels;
    const float* s = statistics + (batch * g.groups + channel / g.group_size) * 2;
    const float value = (to_float(g.x[i]) - s[0]) * s[1] * to_float(gain[channel]) + to_float(bias[channel]);
    g.y[i] = from_float<T>(silu ? activate(Activation::silu, value) : value);
  }
}

template <class T>
void run_group_norm(const GroupNormArgs& a, Scratch& scratch, cudaStream_t stream) {
  Groups<T> g{.x = a.x.data<T>(), .y = a.y.data<T>(), .batch = a.x.size(0), .pixels = a.x.size(1) * a.x.size(2)};
  g.channels = a.x.size(3);
  g.groups = a.groups;
  g.group_size = g.channels / g.groups;
  const bool vectors = fit_vectors(8, a.x, a.y, a.gain, a.bias) && takes_vectors(g);
  if (!vectors) {
    const int64_t wanted = ceil_div(g.pixels * g.group_size, kChunkElements);
    g.chunks = wanted < kMostChunks ? wanted : kMostChunks;
    g.pixels_per_chunk = ceil_div(g.pixels, g.chunks);
  }
  float* statistics = scratch.floats(g.batch * g.groups * 2 * (1 + g.chunks));
  float* partial = statistics + g.batch * g.groups * 2;
  const dim3 grid(static_cast<unsigned>(g.chunks), static_cast<unsigned>(g.groups), static_cast<unsigned>(g.batch));
  const T *gain = a.gain.data<T>(), *bias = a.bias.data<T>();

  if (vectors) vector_moments(g, partial, stream);
  else chunk_moments_kernel<<<grid, kThreads, 0, stream>>>(g, partial);
  check_launch("group_norm: moments of chunks");
  combine_moments_kernel<<<dim3(grid.y, grid.z), kThreads, 0, stream>>>(g, partial, statistics, a.eps);
  check_launch("group_norm: moments of groups");
  if (vectors) vector_apply(g, statistics, gain, bias, a.silu, stream);
  else apply_kernel<<<blocks_for(a.x.count()), kThreads, 0, stream>>>(g, statistics, gain, bias, a.silu, a.x.count());
  check_launch("group_norm");
}

}  // namespace

void CudaOps::do_group_norm(const GroupNormArgs& a) {
  if (a.x.count() == 0) return;
  dispatch(a.x.dtype(), [&](auto type) { run_group_norm<typename decltype(type)::type>(a, scratch_, stream()); });
}

}  // namespace fx::cuda
