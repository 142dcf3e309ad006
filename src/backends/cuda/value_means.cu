#include "backends/cuda/value_means.h"

#include "backends/cuda/cluster.cuh"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"

namespace fx::cuda {
namespace {

constexpr int kVector = 8;
constexpr int kChannels = 64;                  // of a block
constexpr int kColumns = kChannels / kVector;  // threads side by side
constexpr int kWarps = kThreads / kWarp;
constexpr int kRowsAtOnce = kThreads / kColumns;  // of a block
constexpr int kReads = 4;                         // that a thread begins before it uses the first
constexpr int64_t kParts = 8;                     // blocks that share the tokens, as one cluster

// Of one channel.
struct Spread {
  float sum, least, most;

  __device__ void add(float value) { add({value, value, value}); }
  __device__ void add(const Spread& other) {
    sum += other.sum;
    least = fminf(least, other.least);
    most = fmaxf(most, other.most);
  }
  __device__ Spread of_lane(int distance) const {
    constexpr unsigned kAll = 0xffffffffu;
    return {__shfl_xor_sync(kAll, sum, distance), __shfl_xor_sync(kAll, least, distance),
            __shfl_xor_sync(kAll, most, distance)};
  }
};

// Eight channels of every kRowsAtOnce-th row.
__device__ void read_rows(const bf16* first, int64_t stride, int64_t begin, int64_t end, Spread (&spread)[kVector]) {
  for (int64_t row = begin; row < end; row += kReads * kRowsAtOnce) {
    uint32_t words[kReads][kVector / 2];
#pragma unroll
    for (int r = 0; r < kReads; ++r) load_words(first + min(row + r * kRowsAtOnce, end - 1) * stride, words[r]);
#pragma unroll
    for (int r = 0; r < kReads; ++r) {
      if (row + r * kRowsAtOnce >= end) break;
#pragma unroll
      for (int i = 0; i < kVector; i += 2) {
        const float2 pair = unpack<bf16>(words[r][i / 2]);
        spread[i].add(pair.x);
        spread[i + 1].add(pair.y);
      }
    }
  }
}

// Grid: (parts of the tokens, which are one cluster; groups of channels; B). All sums are added in a fixed order.
__global__ void __launch_bounds__(kThreads) means_kernel(RowsOf<bf16> v, int64_t channels, bf16* means, float* reach) {
  __shared__ Spread of_warp[kWarps][kChannels], of_block[kChannels];
  const int column = threadIdx.x % kColumns * kVector, warp = threadIdx.x / kWarp;
  const int64_t first = static_cast<int64_t>(blockIdx.y) * kChannels, batch = blockIdx.z;
  const int64_t rows = (v.per_batch + gridDim.x - 1) / gridDim.x, begin = blockIdx.x * rows;
  Spread spread[kVector];
#pragma unroll
  for (Spread& nothing : spread) nothing = {0, INFINITY, -INFINITY};
  if (first + column < channels) {
    read_rows(v.base + batch * v.batch_stride + first + column, v.row_stride, begin + threadIdx.x / kColumns,
              min(begin + rows, v.per_batch), spread);
  }
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
#pragma unroll
    for (int distance = kColumns; distance < kWarp; distance *= 2) spread[i].add(spread[i].of_lane(distance));
    if (threadIdx.x % kWarp < kColumns) of_warp[warp][column + i] = spread[i];
  }
  __syncthreads();
  if (threadIdx.x < kChannels) {
    Spread all = of_warp[0][threadIdx.x];
    for (int i = 1; i < kWarps; ++i) all.add(of_warp[i][threadIdx.x]);
    of_block[threadIdx.x] = all;
  }
  __syncthreads();
  if (gridDim.x > 1) arrive_at_cluster(), wait_for_cluster();
  if (blockIdx.x == 0) {
    float farthest = 0;
    if (threadIdx.x < kChannels && first + threadIdx.x < channels) {
      Spread all = of_block[threadIdx.x];
      for (unsigned part = 1; part < gridDim.x; ++part) all.add(shared_of(of_block, part)[threadIdx.x]);
      const bf16 mean = from_float<bf16>(all.sum / static_cast<float>(v.per_batch));
      means[batch * channels + first + threadIdx.x] = mean;
      farthest = fmaxf(all.most - to_float(mean), to_float(mean) - all.least);
    }
    farthest = block_reduce(farthest, Maximum());
    if (threadIdx.x == 0) reach[batch * gridDim.y + blockIdx.y] = farthest;
  }
  if (gridDim.x > 1) arrive_at_cluster(), wait_for_cluster();  // the first block has read this one's memory
}

}  // namespace

int64_t reach_count(int64_t batch, int64_t channels) { return batch * ceil_div(channels, kChannels); }

void find_means(const Tensor& v, __nv_bfloat16* means, float* reach, cudaStream_t stream) {
  static const bool clusters = prepare_kernel(means_kernel, 0);
  const int64_t channels = v.size(2) * v.size(3);
  const dim3 grid(clusters ? kParts : 1, static_cast<unsigned>(ceil_div(channels, kChannels)),
                  static_cast<unsigned>(v.size(0)));
  launch_clusters(means_kernel, grid, kThreads, 0, stream, "attention: means of values", RowsOf<bf16>(v), channels,
                  means, reach);
}

}  // namespace fx::cuda
