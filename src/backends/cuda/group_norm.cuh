// Group norm cut into chunks of pixels: what its kernels share.
#pragma once

#include "backends/cuda/device_view.cuh"

namespace fx::cuda {

template <class T>
struct Groups {
  const T* x;
  T* y;
  int64_t batch, pixels, channels, groups, group_size, chunks, pixels_per_chunk;

  // Pixels of a chunk; the last ones may be short or empty.
  __device__ int64_t begin(int64_t chunk) const {
    const int64_t pixel = chunk * pixels_per_chunk;
    return pixel < pixels ? pixel : pixels;
  }
  // In the table of partial moments: (B, chunks, groups, 2), mean and sum of squared deviations from it.
  __device__ int64_t partial(int64_t b, int64_t chunk, int64_t group) const {
    return ((b * chunks + chunk) * groups + group) * 2;
  }
};

// Of `count` values: their mean and the sum of squared deviations from it. Combined by Chan's formula.
struct Moments {
  float count, mean, squares;

  __device__ void add(const Moments& more) {
    if (more.count == 0) return;
    const float total = count + more.count, delta = more.mean - mean, share = more.count / total;
    mean += delta * share;
    squares += more.squares + delta * delta * (count * share);
    count = total;
  }
};

// Pictures whose channels and groups allow vectors of eight; sets the chunks.
template <class T>
bool takes_vectors(Groups<T>& g);
template <class T>
void vector_moments(const Groups<T>& g, float* partial, cudaStream_t stream);
// statistics: (B, groups, 2): mean and inverse deviation.
template <class T>
void vector_apply(const Groups<T>& g, const float* statistics, const T* gain, const T* bias, bool silu,
                  cudaStream_t stream);

}  // namespace fx::cuda
