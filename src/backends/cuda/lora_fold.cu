// An adapter laid into the front of a weight in e4m3, when it is published. The first kernel chooses the scales of the
// columns, the second writes the front.
//
// How the scales are chosen. The product adds t8 * w8, times the scales of row and channel, for each rank r, where
//   t8 = scale * (x8 . a[r]) / c[r],   w8 = b[n, r] * c[r] / weight_scale[n],
// and both must stay below 448 and mostly above 2^-6, the smallest normal number. x8, the row in e4m3, has an rms of 10 to
// 125 (its largest magnitude is 448), so x8 . a[r] is about that times |a[r]|. With c = 8 |scale| |a[r]|, t8 is 1 to 16 and
// reaches 448 only where the row lies along a[r]: within 45 degrees at a depth of 3072, as |x8| is 7000 at most. w8 is then
// 8 |dW[n]| / weight_scale[n] for the difference dW that the rank makes; weights with a front are scaled so (Param::largest)
// that |W[n]| / weight_scale[n] is about 200 at that depth: 0.005 of it spread over 32 ranks makes 1.5, 0.3 of it in one
// rank 480, with larger elements here and there. Those bound c by 448 / max |w8 / c|, and `room`, which is c / (|scale|
// |a[r]|), says what is left for t8: at 1 it is 10 to 125 on average, which is the least that is accepted.
#include "backends/cuda/cuda_error.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/lora_slot.cuh"
#include "backends/cuda/quantize.cuh"

namespace fx::cuda {
namespace {

constexpr int kRanks = 8;  // of a block of the first kernel
constexpr int kFoldThreads = 512;
constexpr int kPack = 16;            // columns of the front that a thread writes
constexpr float kWidest = 8.0f;      // room that c gives t8 where w8 allows it
constexpr float kSmallest = 1e-30f;  // of c: its quotients are finite

struct Fold {
  Slot<bf16> slot;
  const float* weight_scale;
  float* column_scale;
  uint8_t* front;
  int64_t pitch;
  int32_t columns;
  bool wide_front;
  float* room;
};

// The ranks [first, first + 8) of a row of b; with `n` of 8, they lie in its memory and begin at 16 bytes.
template <int n>
__device__ void load_ranks(const Slot<bf16>& slot, int64_t row, int32_t first, float (&b)[kRanks]) {
  const bf16* from = slot.b + row * slot.capacity + first;
  if constexpr (n == kRanks) {
    load(from, b);
  } else {
#pragma unroll
    for (int i = 0; i < kRanks; ++i) b[i] = first + i < slot.capacity ? to_float(from[i]) : 0.0f;
  }
}

// The ranks of a segment among the `count` from `first` on, counted from there.
struct Part {
  int begin, end;
  __device__ Part(const Segment& s, int32_t first, int count)
      : begin(max(s.first_rank - first, 0)), end(min(s.first_rank + s.ranks - first, count)) {}
  __device__ bool has(int i) const { return i >= begin && i < end; }
};

// |a[rank]|, for all threads of the block.
template <int n>
__device__ float norm_of(const Slot<bf16>& slot, int32_t rank) {
  const bf16* a = slot.a + rank * slot.in;
  float sum = 0.0f;
  for (int64_t i = static_cast<int64_t>(threadIdx.x) * n; i < slot.in; i += static_cast<int64_t>(blockDim.x) * n) {
    float v[n];
    load(a + i, v);
#pragma unroll
    for (int j = 0; j < n; ++j) sum += v[j] * v[j];
  }
  return sqrtf(block_reduce(sum, Sum()));
}

// Floats from 0 on are ordered as their bits are, and the least does not depend on the order in which it is found.
__device__ void lower(float* least, float value) { atomicMin(reinterpret_cast<int*>(least), __float_as_int(value)); }

// For a rank whose |scale| |a| is `inner` and whose largest |b| / weight_scale is `outer`.
__device__ float choose_scale(const Fold& f, int32_t rank, float inner, float outer) {
  if (inner == 0.0f || outer == 0.0f) return 0.0f;  // it adds nothing
  const float c = fminf(kWidest * inner, kLargestE4m3 / outer);
  const bool good = c >= kSmallest && c <= 1.0f / kSmallest && inner <= 1.0f / kSmallest && rank < f.columns;
  lower(f.room, good ? c / inner : 0.0f);
  return good ? c : 0.0f;
}

// Grid: groups of ranks.
template <int n>
__global__ void __launch_bounds__(kFoldThreads) fold_scales_kernel(Fold f, DeviceFault* fault) {
  const int32_t first = static_cast<int32_t>(blockIdx.x) * kRanks;
  if (blockIdx.x == 0 && threadIdx.x == 0) f.slot.note_faults(fault);
  float largest[kRanks] = {};
  uint32_t used = 0;
  for (int i = 0; i < f.slot.used_segments(); ++i) {
    const Segment s = f.slot.segments[i];
    const Part part(s, first, kRanks);
    if (!f.slot.valid(s) || part.begin >= part.end) continue;
    used |= ((1u << part.end) - 1) & ~((1u << part.begin) - 1);
#pragma unroll 4
    for (int64_t row = s.first_row + static_cast<int64_t>(threadIdx.x); row < s.first_row + s.rows; row += blockDim.x) {
      float b[kRanks];
      load_ranks<n>(f.slot, row, first, b);
      const float inverse = inverse_scale(f.weight_scale[row]);
#pragma unroll
      for (int j = 0; j < kRanks; ++j) {
        if (part.has(j)) largest[j] = fmaxf(largest[j], fabsf(b[j]) * inverse);
      }
    }
  }
#pragma unroll
  for (int j = 0; j < kRanks; ++j) {
    const int32_t rank = first + j;
    if (rank >= f.slot.capacity) break;
    float c = 0.0f;
    if (used >> j & 1) {  // for all threads
      const float outer = block_reduce(largest[j], Maximum()), norm = norm_of<n>(f.slot, rank);
      if (threadIdx.x == 0) c = choose_scale(f, rank, fabsf(f.slot.scale[rank]) * norm, outer);
    }
    if (threadIdx.x == 0) f.column_scale[rank] = c;
  }
}

// 16 columns of a row.
template <int n>
__device__ void fold_pack(const Fold& f, int64_t row, int32_t first, float (&sums)[kPack]) {
  for (int i = 0; i < f.slot.used_segments(); ++i) {
    const Segment s = f.slot.segments[i];
    if (!f.slot.feeds(s, static_cast<int32_t>(row), static_cast<int32_t>(row + 1))) continue;
#pragma unroll
    for (int half = 0; half < kPack; half += kRanks) {
      const Part part(s, first + half, kRanks);
      if (part.begin >= part.end) continue;  // so that the ranks from first + half on exist
      float b[kRanks];
      load_ranks<n>(f.slot, row, first + half, b);
#pragma unroll
      for (int j = 0; j < kRanks; ++j) {
        if (part.has(j)) sums[half + j] += b[j] * f.column_scale[first + half + j];
      }
    }
  }
}

// A thread for each pack of the front.
template <int n>
__global__ void fold_front_kernel(Fold f, int64_t packs_of_row, int64_t packs) {
  const int64_t at = first_element();
  if (at >= packs) return;
  const int64_t row = at / packs_of_row;
  const int32_t first = static_cast<int32_t>(at % packs_of_row) * kPack;
  float v[kPack] = {};
  fold_pack<n>(f, row, first, v);
  const float inverse = inverse_scale(f.weight_scale[row]);
  uint8_t* to = f.front + row * f.pitch + first;
  if (f.wide_front) {
    uint32_t words[kPack / 4];
#pragma unroll
    for (int i = 0; i < kPack / 4; ++i) {
      words[i] = to_e4m3x4(v[4 * i] * inverse, v[4 * i + 1] * inverse, v[4 * i + 2] * inverse, v[4 * i + 3] * inverse);
    }
    return store_words(to, words);
  }
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    if (first + i < f.columns) to[i] = to_e4m3(v[i] * inverse);
  }
}

template <int n>
void launch(const Fold& f, int64_t out, DeviceFault* fault, cudaStream_t stream) {
  const auto groups = static_cast<unsigned>(ceil_div(f.slot.capacity, kRanks));
  fold_scales_kernel<n><<<groups, kFoldThreads, 0, stream>>>(f, fault);
  check_launch("fold_lora: scales");
  const int64_t packs_of_row = ceil_div(f.columns, kPack), packs = out * packs_of_row;
  const auto blocks = static_cast<unsigned>(ceil_div(packs, kThreads));
  fold_front_kernel<n><<<blocks, kThreads, 0, stream>>>(f, packs_of_row, packs);
  check_launch("fold_lora: front");
}

}  // namespace

void fold_lora(const FoldLoraArgs& a, DeviceFault* fault, cudaStream_t stream) {
  const Tensor& front = a.weight_front;
  if (!a.lora.defined()) {
    const auto columns = static_cast<size_t>(front.size(1)), rows = static_cast<size_t>(front.size(0));
    return check_cuda(cudaMemset2DAsync(front.raw(), static_cast<size_t>(front.stride(0)), 0, columns, rows, stream),
                      "clearing a front");
  }
  // Larger than any room.
  constexpr int kLargeByte = 0x7f;
  check_cuda(cudaMemsetAsync(a.room.raw(), kLargeByte, sizeof(float), stream), "fold_lora");
  if (a.lora.a.size(0) == 0 || front.count() == 0) return;
  const Fold f{.slot = Slot<bf16>(a.lora),
               .weight_scale = a.weight_scale.f32(),
               .column_scale = a.lora.column_scale.f32(),
               .front = front.data<uint8_t>(),
               .pitch = front.stride(0),
               .columns = static_cast<int32_t>(front.size(1)),
               .wide_front = fits_vectors(kPack, front),
               .room = a.room.f32()};
  if (fit_vectors(kRanks, a.lora.a, a.lora.b)) launch<kRanks>(f, front.size(0), fault, stream);
  else launch<1>(f, front.size(0), fault, stream);
}

void CudaOps::do_fold_lora(const FoldLoraArgs& args) { cuda::fold_lora(args, fault(), stream()); }

}  // namespace fx::cuda
