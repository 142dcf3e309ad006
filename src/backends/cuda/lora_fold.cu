// Adapters laid into the fronts of weights in e4m3, when they are published. The first kernel chooses the scales of the
// columns and writes weight_down, the second writes weight_front. Adapters are small and layers many, and a layer alone leaves
// most of a GPU without work: each launch takes several.
//
// How the scales are chosen. The products add t8 * w8, times the scales of row and channel, for each rank r, where
//   t8 = scale * (x8 . a[r]) / c[r],   w8 = b[n, r] * c[r] / weight_scale[n],
// and both must stay below 448 and mostly above 2^-6, the smallest normal number. x8, the row in e4m3, has an rms of 5 to
// 125 (its largest magnitude is 224 to 448), so x8 . a[r] is about that times |a[r]|. With c = 8 |scale| |a[r]|, t8 is 0.6
// to 16 and reaches 448 only where the row lies along a[r]: within 45 degrees at a depth of 3072, as |x8| is 7000 at most. w8 is then
// 8 |dW[n]| / weight_scale[n] for the difference dW that the rank makes; weights with a front are scaled so (Param::largest)
// that |W[n]| / weight_scale[n] is 100 to 200 at that depth: 0.005 of it spread over 32 ranks makes 1.5, 0.3 of it in one
// rank 480, with larger elements here and there. Those bound c by 448 / max |w8 / c|, and `room`, which is c / (|scale|
// |a[r]|), says what is left for t8: at 1 it is 5 to 125 on average, which is the least that is accepted.
//
// t8 comes out of a product in e4m3 itself: kFoldAlpha * x8 . d[r], where d = weight_down. |d[r]| is 1 / (kFoldAlpha * room),
// so with c as above the elements of d have an rms of 2^8 / (8 sqrt(in)): 0.6 at a depth of 3072, 0.26 at 15360. One alone
// that is not zero is 32 then, and 256 with the least room that is accepted: below 448 in any case.
#include <algorithm>
#include <type_traits>

#include "backends/cuda/cuda_error.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/lora_slot.cuh"
#include "backends/cuda/quantize.cuh"

namespace fx::cuda {
namespace {

constexpr int kRanks = static_cast<int>(kLoraStep);  // of a block of the first kernel
constexpr int kFoldThreads = 512, kFoldWarps = kFoldThreads / kWarp;
constexpr int kPack = static_cast<int>(kFrontStep);  // neighbours that a thread writes
constexpr float kWidest = 8.0f;                      // room that c gives t8 where w8 allows it
constexpr float kSmallest = 1e-30f;                  // of c: its quotients are finite
constexpr size_t kTogether = 16;                     // layers of a launch

struct Fold {
  Slot<bf16> slot;
  const float* weight_scale;  // (out)
  float* column_scale;        // (E)
  uint8_t* front;             // (out, E)
  int64_t front_pitch;
  uint8_t* down;  // (E, in)
  int32_t out, columns;
  float* room;
  int32_t* reach;
  uint32_t packs_of_row, packs;  // of the front

  // As front_column. Eight ranks from a multiple of eight on are neighbours.
  __device__ int32_t column_of(int32_t rank) const { return columns - (rank / kPack + 1) * kPack + rank % kPack; }
};

struct Folds {
  Fold layers[kTogether];
};
// What a kernel's parameters may take.
static_assert(std::is_trivially_copyable_v<Folds> && sizeof(Folds) <= 4096 - sizeof(void*));

// How many of the eight ranks from `first` on, a multiple of 8, are a segment's. They are the first ones.
__device__ int ranks_of(const Segment& s, int32_t first) {
  return first < s.first_rank ? 0 : max(0, min(kRanks, s.first_rank + s.ranks - first));
}

__device__ void store_pack(uint8_t* to, const float (&v)[kPack], float factor) {
  uint32_t words[kPack / 4];
#pragma unroll
  for (int i = 0; i < kPack / 4; ++i) {
    words[i] = to_e4m3x4(v[4 * i] * factor, v[4 * i + 1] * factor, v[4 * i + 2] * factor, v[4 * i + 3] * factor);
  }
  store_words(to, words);
}

// One value for each of the eight ranks, from all threads of the block: thread r < 8 gets that of rank r.
template <class Combine>
__device__ float reduce_ranks(const float (&values)[kRanks], Combine combine) {
  __shared__ float of_warp[kFoldWarps][kRanks];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
#pragma unroll
  for (int r = 0; r < kRanks; ++r) {
    const float value = warp_reduce(values[r], combine);
    if (lane == 0) of_warp[warp][r] = value;
  }
  __syncthreads();
  float all = 0.0f;
  for (int i = 0; threadIdx.x < kRanks && i < kFoldWarps; ++i) all = combine(all, of_warp[i][threadIdx.x]);
  return all;
}

// The largest |b| / weight_scale of each of the ranks [first, first + 8). Returns how many of them a segment has.
__device__ int find_largest(const Fold& f, int32_t first, float (&largest)[kRanks]) {
  int used = 0;
  for (int i = 0; i < f.slot.used_segments(); ++i) {
    const Segment s = f.slot.segments[i];
    const int ranks = f.slot.valid(s) ? ranks_of(s, first) : 0;
    if (ranks == 0) continue;
    used = max(used, ranks);
    const bf16* block = f.slot.b_at(s, s.first_row, first);
#pragma unroll 4
    for (int32_t row = static_cast<int32_t>(threadIdx.x); row < s.rows; row += kFoldThreads) {
      float b[kRanks];
      load(block + row * s.pitch(), b);
      const float inverse = inverse_scale(f.weight_scale[s.first_row + row]);
#pragma unroll
      for (int r = 0; r < kRanks; ++r) {
        if (r < ranks) largest[r] = fmaxf(largest[r], fabsf(b[r]) * inverse);
      }
    }
  }
  return used;
}

// This thread's share of |a|^2 for the first `used` of eight ranks.
__device__ void add_squares(const Fold& f, int32_t first, int used, float (&squares)[kRanks]) {
  for (int64_t at = static_cast<int64_t>(threadIdx.x) * kRanks; at < f.slot.in; at += kFoldThreads * kRanks) {
#pragma unroll
    for (int r = 0; r < kRanks; ++r) {
      if (r >= used) break;
      float v[kRanks];
      load(f.slot.a + (first + r) * f.slot.in + at, v);
#pragma unroll
      for (const float value : v) squares[r] += value * value;
    }
  }
}

// Floats from 0 on are ordered as their bits are, and the least does not depend on the order in which it is found.
__device__ void lower(float* least, float value) { atomicMin(reinterpret_cast<int*>(least), __float_as_int(value)); }

// For a rank whose |scale| |a| is `inner` and whose largest |b| / weight_scale is `outer`.
__device__ float choose_scale(const Fold& f, float inner, float outer) {
  if (inner == 0.0f || outer == 0.0f) return 0.0f;  // it adds nothing
  const float c = fminf(kWidest * inner, kLargestE4m3 / outer);
  const bool good = c >= kSmallest && c <= 1.0f / kSmallest && inner <= 1.0f / kSmallest;
  lower(f.room, good ? c / inner : 0.0f);
  return good ? c : 0.0f;
}

// Writes the scale of a column, and returns what `a` is multiplied by; 0 for a rank without effect.
__device__ float factor_of(const Fold& f, int32_t rank, bool used, float outer, float squares) {
  const float scale = used ? f.slot.scale[rank] : 0.0f;
  const float c = used ? choose_scale(f, fabsf(scale) * sqrtf(squares), outer) : 0.0f;
  f.column_scale[f.column_of(rank)] = c;
  if (c > 0.0f) atomicMax(f.reach, f.columns - f.column_of(rank / kRanks * kRanks));
  return c > 0.0f ? __fdiv_rn(scale, c * kFoldAlpha) : 0.0f;
}

__device__ void write_down(const Fold& f, int32_t first, const float (&factors)[kRanks]) {
  const int32_t in = static_cast<int32_t>(f.slot.in), packs = in / kPack;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kRanks * packs; i += kFoldThreads) {
    const int32_t r = i / packs;
    const int64_t at = i % packs * kPack;
    float v[kPack] = {};
    if (factors[r] != 0.0f) load(f.slot.a + (static_cast<int64_t>(first) + r) * in + at, v);
    store_pack(f.down + (static_cast<int64_t>(f.column_of(first)) + r) * in + at, v, factors[r]);
  }
}

// One thread for each layer calls this.
__device__ void look_at_segments(const Fold& f, DeviceFault* fault) {
  f.slot.note_faults(fault);
  for (int i = 0; i < f.slot.used_segments(); ++i) {
    const Segment s = f.slot.segments[i];
    if (f.slot.feeds(s, 0, f.out) && s.first_rank + s.ranks > f.columns) lower(f.room, 0.0f);
  }
}

// Grid: (groups of eight columns, layers).
__global__ void __launch_bounds__(kFoldThreads)
    fold_down_kernel(const __grid_constant__ Folds folds, DeviceFault* fault) {
  __shared__ float factors[kRanks];
  const Fold& f = folds.layers[blockIdx.y];
  const int32_t first = static_cast<int32_t>(blockIdx.x) * kRanks;
  if (blockIdx.x == 0 && threadIdx.x == 0) look_at_segments(f, fault);
  if (first >= f.columns) return;  // other layers have more
  float largest[kRanks] = {}, squares[kRanks] = {};
  const int used = find_largest(f, first, largest);  // the same for all threads
  add_squares(f, first, used, squares);
  const float outer = reduce_ranks(largest, Maximum()), square = reduce_ranks(squares, Sum());
  const int r = static_cast<int>(threadIdx.x);
  if (r < kRanks) factors[r] = factor_of(f, first + r, r < used, outer, square);
  __syncthreads();
  write_down(f, first, factors);
}

// A thread for each pack of a front. Grid: (blocks of packs, layers).
__global__ void fold_front_kernel(const __grid_constant__ Folds folds) {
  const Fold& f = folds.layers[blockIdx.y];
  const uint32_t at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= f.packs) return;
  const auto row = static_cast<int32_t>(at / f.packs_of_row);
  const auto first = static_cast<int32_t>(at % f.packs_of_row) * kPack;  // rank
  const int32_t column = f.column_of(first);
  float v[kPack] = {};
  for (int i = 0; i < f.slot.used_segments(); ++i) {
    const Segment s = f.slot.segments[i];
    if (!f.slot.feeds(s, row, row + 1)) continue;
#pragma unroll
    for (int half = 0; half < kPack; half += kRanks) {
      const int ranks = ranks_of(s, first + half);
      if (ranks == 0) continue;
      float b[kRanks], c[kRanks];
      load(f.slot.b_at(s, row, first + half), b);
      load(f.column_scale + column + half, c);
#pragma unroll
      for (int r = 0; r < kRanks; ++r) {
        if (r < ranks && c[r] > 0.0f) v[half + r] += b[r] * c[r];  // what has no scale may be infinite
      }
    }
  }
  store_pack(f.front + row * f.front_pitch + column, v, inverse_scale(f.weight_scale[row]));
}

void clear(const FoldLoraArgs& a, cudaStream_t stream) {
  const Tensor& front = a.weight_front;
  const auto columns = static_cast<size_t>(front.size(1)), rows = static_cast<size_t>(front.size(0));
  check_cuda(cudaMemset2DAsync(front.raw(), static_cast<size_t>(front.stride(0)), 0, columns, rows, stream),
             "clearing a front");
  for (const Tensor& t : {a.weight_down, a.column_scale}) {
    check_cuda(cudaMemsetAsync(t.raw(), 0, static_cast<size_t>(t.bytes()), stream), "clearing a front");
  }
}

Fold fold_of(const FoldLoraArgs& a) {
  const Tensor& front = a.weight_front;
  const Slot<bf16> slot(a.lora);
  const bool fits = fit_vectors(kPack, front, a.weight_down) && fit_vectors(kRanks, a.lora.a, a.column_scale);
  if (!fits || !slot.has_wide_b()) check_cuda(cudaErrorMisalignedAddress, "fold_loras, which takes multiples of 16,");
  const auto out = static_cast<uint32_t>(front.size(0)), packs = static_cast<uint32_t>(front.size(1) / kPack);
  return {.slot = slot,
          .weight_scale = a.weight_scale.f32(),
          .column_scale = a.column_scale.f32(),
          .front = front.data<uint8_t>(),
          .front_pitch = front.stride(0),
          .down = a.weight_down.data<uint8_t>(),
          .out = static_cast<int32_t>(front.size(0)),
          .columns = static_cast<int32_t>(front.size(1)),
          .room = a.room.f32(),
          .reach = a.reach.i32(),
          .packs_of_row = packs,
          .packs = packs * out};
}

void fold(const Folds& folds, size_t layers, DeviceFault* fault, cudaStream_t stream) {
  unsigned groups = 1;  // where segments are looked at, even if there are no columns
  uint32_t packs = 0;
  for (size_t i = 0; i < layers; ++i) {
    groups = std::max(groups, static_cast<unsigned>(folds.layers[i].columns / kRanks));
    packs = std::max(packs, folds.layers[i].packs);
  }
  const auto count = static_cast<unsigned>(layers);
  fold_down_kernel<<<dim3(groups, count), kFoldThreads, 0, stream>>>(folds, fault);
  check_launch("fold_loras: weight_down");
  if (packs == 0) return;
  fold_front_kernel<<<dim3(static_cast<unsigned>(ceil_div(packs, kThreads)), count), kThreads, 0, stream>>>(folds);
  check_launch("fold_loras: weight_front");
}

}  // namespace

void fold_loras(const FoldLorasArgs& args, DeviceFault* fault, cudaStream_t stream) {
  Folds folds{};
  size_t gathered = 0;
  for (const FoldLoraArgs& layer : args.layers) {
    if (!layer.lora.defined()) {
      clear(layer, stream);
      continue;
    }
    folds.layers[gathered++] = fold_of(layer);
    if (gathered < kTogether) continue;
    fold(folds, gathered, fault, stream);
    gathered = 0;
  }
  if (gathered > 0) fold(folds, gathered, fault, stream);
}

void CudaOps::do_fold_loras(const FoldLorasArgs& args) { cuda::fold_loras(args, fault(), stream()); }

}  // namespace fx::cuda
