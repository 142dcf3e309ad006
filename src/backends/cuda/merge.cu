// Merging a slot into a layer's weight: in tiles on tensor cores where shapes and hardware allow it, else row by row,
// where whatever is needed twice is computed twice.
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/merge_kernel.cuh"

namespace fx::cuda {
namespace {

// weight = base + sum over segments of (b * scale) a for one row, and one column after the other.
template <class T>
struct MergedRow {
  const Slot<T>& slot;
  const T* base;
  int64_t row;

  __device__ float operator[](int64_t column) const {
    const float old = to_float(base[row * slot.in + column]);
    float sum = 0;
    bool fed = false;
    for (int i = 0; i < slot.used_segments(); ++i) {
      const Segment s = slot.segments[i];
      if (!slot.feeds(s, static_cast<int32_t>(row), static_cast<int32_t>(row + 1))) continue;
      fed = true;
      for (int32_t rank = s.first_rank; rank < s.first_rank + s.ranks; ++rank) {
        const float scaled = to_float(*slot.b_at(s, row, rank)) * slot.scale[rank];
        sum += to_float(from_float<T>(scaled)) * to_float(slot.a[rank * slot.in + column]);
      }
    }
    return fed ? to_float(from_float<T>(old + sum)) : old;
  }
};

// One block for each row. Without scales the weight is of T, else e4m3.
template <class T>
__global__ void merge_row_kernel(Slot<T> slot, const T* base, void* weight, float* weight_scale, DeviceFault* fault) {
  if (blockIdx.x == 0 && threadIdx.x == 0) slot.note_faults(fault);
  const MergedRow<T> merged{slot, base, blockIdx.x};
  const int64_t first = blockIdx.x * slot.in;
  if (!weight_scale) {
    for (int64_t c = threadIdx.x; c < slot.in; c += blockDim.x) {
      static_cast<T*>(weight)[first + c] = from_float<T>(merged[c]);
    }
    return;
  }
  float largest = 0;
  for (int64_t c = threadIdx.x; c < slot.in; c += blockDim.x) largest = fmaxf(largest, fabsf(merged[c]));
  const float scale = row_scale(block_reduce(largest, Maximum())), inverse = inverse_scale(scale);
  if (threadIdx.x == 0) weight_scale[blockIdx.x] = scale;
  for (int64_t c = threadIdx.x; c < slot.in; c += blockDim.x) {
    static_cast<uint8_t*>(weight)[first + c] = to_e4m3(merged[c] * inverse);
  }
}

template <class T>
void merge_rows(const MergeLoraArgs& args, DeviceFault* fault, cudaStream_t stream) {
  Slot<T> slot(args.lora);
  slot.in = args.base.size(1);  // there may be no operand
  float* scale = args.weight_scale.defined() ? args.weight_scale.f32() : nullptr;
  merge_row_kernel<T><<<static_cast<unsigned>(args.base.size(0)), kThreads, 0, stream>>>(
      slot, args.base.data<T>(), args.weight.raw(), scale, fault);
  check_launch("merge_lora");
}

// In how many blocks of a cluster, and with how many tiles of 16 rows, the rows of `in` values fit into shared memory; no
// tiles if they do not. More rows read `a` less often.
struct Shape {
  int tiles = 0;
  int64_t parts = 0;
  int shared_bytes = 0;
};

// Dynamic shared memory of a block: twice in a large processor, once in a small one.
int most_shared_bytes() {
  constexpr int kTwiceInProcessor = 113 * 1024;
  int device = 0, bytes = 0;
  check_cuda(cudaGetDevice(&device), "asking for the device");
  check_cuda(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "asking for memory");
  return (bytes < kTwiceInProcessor ? bytes : kTwiceInProcessor) - static_cast<int>(sizeof(merging::Shared<4>));
}

Shape shape_for(int64_t in, int most, bool clusters) {
  constexpr int64_t kLargestCluster = 8;
  for (const int tiles : {4, 2, 1}) {
    for (int64_t parts = 1; parts <= (clusters ? kLargestCluster : 1); parts *= 2) {
      const int64_t bytes = ceil_div(ceil_div(in, merging::kUnit), parts) * tiles * merging::kTileBytes;
      if (bytes <= most) return {tiles, parts, static_cast<int>(bytes)};
    }
  }
  return {};
}

template <int kTiles, bool kQuantise>
void launch_tiles(const merging::Problem& p, const Shape& shape, DeviceFault* fault, cudaStream_t stream) {
  constexpr int kRows = merging::Shared<kTiles>::kRows;
  const dim3 grid(static_cast<unsigned>(shape.parts), static_cast<unsigned>(ceil_div(p.out, kRows)));
  launch_clusters(merging::merge_kernel<kTiles, kQuantise>, grid, merging::kBlockThreads, shape.shared_bytes, stream,
                  "merge_lora", p, fault);
}

// Whether there is a shape for it.
template <bool kQuantise>
bool merge_tiles(const merging::Problem& p, DeviceFault* fault, cudaStream_t stream) {
  static const int most = most_shared_bytes();
  static const bool clusters = [] {
    prepare_kernel(merging::merge_kernel<1, kQuantise>, most);
    prepare_kernel(merging::merge_kernel<2, kQuantise>, most);
    return prepare_kernel(merging::merge_kernel<4, kQuantise>, most);
  }();
  const Shape shape = shape_for(p.in, most, clusters);
  switch (shape.tiles) {
    case 4: launch_tiles<4, kQuantise>(p, shape, fault, stream); return true;
    case 2: launch_tiles<2, kQuantise>(p, shape, fault, stream); return true;
    case 1: launch_tiles<1, kQuantise>(p, shape, fault, stream); return true;
    default: return false;
  }
}

}  // namespace

void merge_lora(const MergeLoraArgs& args, DeviceFault* fault, cudaStream_t stream) {
  if (args.base.count() == 0) return;
  if (args.base.dtype() == DType::f32) return merge_rows<float>(args, fault, stream);
  const bool quantise = args.weight_scale.defined();
  const Slot<bf16> slot(args.lora);
  if (fit_vectors(8, args.base, args.weight, args.lora.a) && slot.has_wide_b()) {
    const merging::Problem p{.slot = slot,
                             .base = args.base.data<bf16>(),
                             .weight = args.weight.raw(),
                             .weight_scale = quantise ? args.weight_scale.f32() : nullptr,
                             .out = static_cast<int32_t>(args.base.size(0)),
                             .in = static_cast<int32_t>(args.base.size(1))};
    if (quantise ? merge_tiles<true>(p, fault, stream) : merge_tiles<false>(p, fault, stream)) return;
  }
  merge_rows<bf16>(args, fault, stream);
}

void CudaOps::do_merge_lora(const MergeLoraArgs& args) { cuda::merge_lora(args, fault(), stream()); }

}  // namespace fx::cuda
