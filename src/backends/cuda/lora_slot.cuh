// A LoRA operand as kernels see it, and how they walk through its segments.
#pragma once

#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"
#include "backends/cuda/lora.h"

namespace fx::cuda {

// The two halves of lora.h for the two types of slots: cuda_lora.cu, lora_down.cu, lora_up.cu.
void lora_down_f32(const LoraOperand& lora, const Tensor& x, float* t, DeviceFault* fault, cudaStream_t stream);
void lora_down_bf16(const LoraOperand& lora, const LoraInput& input, bf16* t, DeviceFault* fault, cudaStream_t stream);
void lora_up_f32(const LoraOperand& lora, const float* t, int64_t first_row, const Tensor& y, LoraWrite write,
                 const StepVector* gate, DeviceFault* fault, cudaStream_t stream);
void lora_up_bf16(const LoraOperand& lora, const bf16* t, int64_t first_row, const Tensor& y, LoraWrite write,
                  const StepVector* gate, DeviceFault* fault, cudaStream_t stream);

struct Segment {
  int32_t first_rank, ranks, first_row, rows, first_of_b;

  // From one row of its block to the next.
  __device__ int64_t pitch() const { return (static_cast<int64_t>(ranks) + kLoraStep - 1) / kLoraStep * kLoraStep; }
};

// Matrices of T. Without an operand it has no segments.
template <class T>
struct Slot {
  const T *a = nullptr, *b = nullptr;
  const float* scale = nullptr;
  const Segment* segments = nullptr;
  const int32_t* count = nullptr;
  int32_t max_segments = 0, capacity = 0, rows = 0;  // rows of the layer
  int64_t in = 0, elements_of_b = 0;

  Slot() = default;
  explicit Slot(const LoraOperand& lora) {
    if (!lora.defined()) return;
    a = lora.a.data<T>();
    b = lora.b.data<T>();
    scale = lora.scale.f32();
    segments = lora.segments.data<Segment>();
    count = lora.count.i32();
    max_segments = static_cast<int32_t>(lora.segments.size(0));
    capacity = static_cast<int32_t>(lora.a.size(0));
    rows = static_cast<int32_t>(lora.out);
    in = lora.a.size(1);
    elements_of_b = lora.b.size(0);
  }
  // Whether eight neighbours in b, of whose blocks all rows begin at multiples of that, are loaded at once.
  bool has_wide_b() const { return reinterpret_cast<uintptr_t>(b) % 16 == 0; }

  // 0 where the number itself is broken.
  __device__ int32_t used_segments() const {
    const int32_t now = count ? *count : 0;
    return now >= 0 && now <= max_segments ? now : 0;
  }
  __device__ bool valid(const Segment& s) const {
    return s.first_rank >= 0 && s.ranks >= 0 && s.ranks <= capacity - s.first_rank && s.first_row >= 0 && s.rows >= 0 &&
           s.rows <= rows - s.first_row && s.first_of_b >= 0 && s.rows * s.pitch() <= elements_of_b - s.first_of_b &&
           s.first_rank % kLoraStep == 0 && s.first_of_b % kLoraStep == 0;
  }
  // Where the block of a valid segment has this row of the layer and this rank, both of which are its own.
  __device__ const T* b_at(const Segment& s, int64_t row, int32_t rank) const {
    return b + s.first_of_b + (row - s.first_row) * s.pitch() + (rank - s.first_rank);
  }
  // Does a segment do anything for the rows [begin, end) of the layer?
  __device__ bool feeds(const Segment& s, int32_t begin, int32_t end) const {
    return valid(s) && s.ranks > 0 && s.rows > 0 && s.first_row < end && s.first_row + s.rows > begin;
  }
  // One thread of a launch calls this.
  __device__ void note_faults(DeviceFault* fault) const {
    if (!count) return;
    if (*count < 0 || *count > max_segments) note_fault(fault, FaultKind::lora_count, *count, max_segments);
    for (int i = 0; i < used_segments(); ++i) {
      const Segment s = segments[i];
      if (valid(s)) continue;
      note_fault(fault, FaultKind::lora_segment, s.first_rank, s.ranks, s.first_row, s.rows, capacity, rows);
    }
  }
  // Which of the groups of 32 ranks from `first` on, at most 32 groups, a segment uses, as bits. For whole warps.
  __device__ uint32_t used_groups(int32_t first) const {
    constexpr int kGroup = 32;
    uint32_t groups = 0;
    for (int i = threadIdx.x % kWarp; i < used_segments(); i += kWarp) {
      const Segment s = segments[i];
      if (!valid(s) || s.ranks == 0 || s.rows == 0) continue;
      const int32_t begin = max(s.first_rank - first, 0), end = s.first_rank + s.ranks - first;
      for (int32_t group = begin / kGroup; group < kWarp && group * kGroup < end; ++group) groups |= 1u << group;
    }
    return __reduce_or_sync(0xffffffffu, groups);
  }
};

// Walks through the ranks, `kRanks` at a time, of the segments that feed the rows [begin, end) of the layer. All lanes of a
// warp walk together: each looks at one of 32 segments. Chunks begin at multiples of 8; what lies behind the ranks of the
// last one of a segment, in a, t and b, may be anything.
template <class T, int kRanks>
class RankWalk {
 public:
  __device__ RankWalk(const Slot<T>& slot, int32_t begin, int32_t end)
      : slot_(slot), begin_(begin), end_(end), used_(slot.used_segments()) {
    fetch(0);
    next_segment();
  }
  __device__ bool done() const { return rank_ < 0; }
  __device__ const Segment& segment() const { return segment_; }
  __device__ int32_t rank() const { return rank_; }
  __device__ int32_t rank_end() const { return segment_.first_rank + segment_.ranks; }
  __device__ void next() {
    rank_ += kRanks;
    if (rank_ >= rank_end()) next_segment();
  }
  // Back to the first chunk.
  __device__ void restart() {
    if (batch_ != 0) fetch(0);
    left_ = feeding_;
    next_segment();
  }

 private:
  __device__ void fetch(int32_t batch) {
    batch_ = batch;
    const int32_t i = batch + static_cast<int32_t>(threadIdx.x % kWarp);
    const bool feeding = i < used_ && slot_.feeds(slot_.segments[i], begin_, end_);
    feeding_ = left_ = __ballot_sync(0xffffffffu, feeding);
  }
  __device__ void next_segment() {
    while (left_ == 0) {
      if (batch_ + kWarp >= used_) {
        rank_ = -1;  // done
        return;
      }
      fetch(batch_ + kWarp);
    }
    segment_ = slot_.segments[batch_ + __ffs(static_cast<int>(left_)) - 1];
    left_ &= left_ - 1;
    rank_ = segment_.first_rank;
  }

  const Slot<T>& slot_;
  int32_t begin_, end_, used_, batch_ = 0, rank_ = 0;
  Segment segment_{};
  uint32_t feeding_ = 0, left_ = 0;
};

}  // namespace fx::cuda
