// The input of a linear layer in the type of its product.
#pragma once

#include "backends/cuda/linear_kind.h"
#include "backends/cuda/lora.h"
#include "backends/cuda/quantize.h"
#include "backends/cuda/scratch.h"

namespace fx::cuda {

class LinearInput {
 public:
  // Finds out what has to be done, and asks for the memory that takes.
  LinearInput(const LinearArgs& args, LinearKind kind, ScratchParts& parts);

  // Does it. A defined `fold` is done along with it.
  void prepare(std::byte* scratch, const GateFold& fold, DeviceFault* fault, cudaStream_t stream);

  // After `prepare`: (B, L, in), f32, bf16 or e4m3.
  const Tensor& x() const { return x_; }
  // (B, L, E) e4m3, right before the rows of x. Nothing has been written there.
  const Tensor& front() const { return front_; }
  // Of the rows of a batch entry, where x is e4m3.
  const float* scale(int64_t entry) const { return scale_ + entry * scale_batch_; }
  // Whether the scales of one entry follow on those of the one before.
  bool scales_are_dense() const { return a_.x.size(0) == 1 || scale_batch_ == a_.x.size(1); }
  LoraInput lora() const { return {x_, lora_scale_}; }

 private:
  void place_scales(ScratchParts& parts);
  void copy_scales(float* to, int64_t pitch, cudaStream_t stream) const;

  const LinearArgs& a_;
  DType type_;  // of the product
  int64_t columns_before_;  // of x, where it is quantised here
  bool quantises_, converts_;
  int64_t quantised_at_ = 0, scale_at_ = 0, converted_at_ = 0;  // places in scratch memory
  bool aligns_scales_ = false, packs_scales_ = false;
  int64_t aligned_at_ = 0, packed_at_ = 0;

  Tensor x_, front_;
  const float* scale_ = nullptr;
  int64_t scale_batch_ = 0;
  const float* lora_scale_ = nullptr;  // dense (B * L), null unless x is e4m3
};

}  // namespace fx::cuda
