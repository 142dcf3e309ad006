// Group norm over (H, W, C / groups), channels last. A group has up to millions of elements, so it is cut into chunks of
// pixels: one kernel takes each chunk's mean and squared deviations, another combines them in a fixed order and applies.
#include "backends/cuda/cuda_error.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"

namespace fx::cuda {
namespace {

constexpr int64_t kChunkElements = 8192;
constexpr int64_t kMostChunks = 128;

struct Groups {
  const float* x;
  float* y;
  int64_t pixels, channels, groups, group_size, chunks, pixels_per_chunk;

  // Pixels of a chunk; the last ones may be short or empty.
  __device__ int64_t begin(int64_t chunk) const { return min(pixels, chunk * pixels_per_chunk); }
};

// A chunk of one group of one picture: `count` elements, which element i reads at address(i).
struct Chunk {
  const float* base;
  int64_t count, group_size, channels;
  __device__ Chunk(const Groups& g, int64_t batch, int64_t group, int64_t chunk)
      : base(g.x + (batch * g.pixels + g.begin(chunk)) * g.channels + group * g.group_size),
        count((g.begin(chunk + 1) - g.begin(chunk)) * g.group_size),
        group_size(g.group_size),
        channels(g.channels) {}
  __device__ float operator[](int64_t i) const { return base[i / group_size * channels + i % group_size]; }
};

// partial: (B, groups, chunks, 2): mean and sum of squared deviations from it. Grid: (chunks, groups, B).
__global__ void chunk_moments_kernel(Groups g, float* partial) {
  const Chunk x(g, blockIdx.z, blockIdx.y, blockIdx.x);
  float sum = 0;
  for (int64_t i = threadIdx.x; i < x.count; i += blockDim.x) sum += x[i];
  const float mean = block_reduce(sum, Sum()) / static_cast<float>(max(x.count, int64_t{1}));
  float squares = 0;
  for (int64_t i = threadIdx.x; i < x.count; i += blockDim.x) squares += (x[i] - mean) * (x[i] - mean);
  squares = block_reduce(squares, Sum());
  if (threadIdx.x != 0) return;
  float* out = partial + ((blockIdx.z * g.groups + blockIdx.y) * g.chunks + blockIdx.x) * 2;
  out[0] = mean;
  out[1] = squares;
}

// statistics: (B, groups, 2): mean and inverse deviation. Chan's formula, chunk by chunk. Grid: (groups, B), one thread.
__global__ void combine_moments_kernel(Groups g, const float* partial, float* statistics, float eps) {
  const int64_t group = blockIdx.y * g.groups + blockIdx.x;
  float count = 0, mean = 0, squares = 0;
  for (int64_t chunk = 0; chunk < g.chunks; ++chunk) {
    const auto more = static_cast<float>((g.begin(chunk + 1) - g.begin(chunk)) * g.group_size);
    if (more == 0) break;
    const float* p = partial + (group * g.chunks + chunk) * 2;
    const float delta = p[0] - mean, total = count + more;
    mean += delta * (more / total);
    squares += p[1] + delta * delta * (count * more / total);
    count = total;
  }
  statistics[group * 2] = mean;
  statistics[group * 2 + 1] = 1.0f / sqrtf(squares / count + eps);
}

__global__ void apply_kernel(Groups g, const float* statistics, const float* gain, const float* bias, bool silu,
                             int64_t count) {
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    const int64_t channel = i % g.channels, batch = i / g.channels / g.pixels;
    const float* s = statistics + (batch * g.groups + channel / g.group_size) * 2;
    const float value = (g.x[i] - s[0]) * s[1] * gain[channel] + bias[channel];
    g.y[i] = silu ? activate(Activation::silu, value) : value;
  }
}

}  // namespace

void CudaOps::do_group_norm(const GroupNormArgs& a) {
  if (a.x.count() == 0) return;
  const int64_t batch = a.x.size(0);
  Groups g{.x = a.x.f32(), .y = a.y.f32(), .pixels = a.x.size(1) * a.x.size(2), .channels = a.x.size(3)};
  g.groups = a.groups;
  g.group_size = g.channels / g.groups;
  const int64_t wanted = ceil_div(g.pixels * g.group_size, kChunkElements);
  g.chunks = wanted < kMostChunks ? wanted : kMostChunks;
  g.pixels_per_chunk = ceil_div(g.pixels, g.chunks);

  float* statistics = scratch_.floats(batch * g.groups * 2 * (1 + g.chunks));
  float* partial = statistics + batch * g.groups * 2;
  const dim3 chunk_grid(static_cast<unsigned>(g.chunks), static_cast<unsigned>(g.groups), static_cast<unsigned>(batch));
  chunk_moments_kernel<<<chunk_grid, kThreads, 0, stream()>>>(g, partial);
  check_launch("group_norm: moments of chunks");
  combine_moments_kernel<<<dim3(chunk_grid.y, chunk_grid.z), 1, 0, stream()>>>(g, partial, statistics, a.eps);
  check_launch("group_norm: moments of groups");
  apply_kernel<<<blocks_for(a.x.count()), kThreads, 0, stream()>>>(g, statistics, a.gain.f32(), a.bias.f32(), a.silu,
                                                                   a.x.count());
  check_launch("group_norm");
}

}  // namespace fx::cuda
