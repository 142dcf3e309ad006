// What the mean of a linear layer's input adds to its bias: the mean goes through the weight and the adapter once, for all rows,
// and never through e4m3. What comes of it is f32; a gate's fold rounds it to bf16 with the gate (quantize.h).
#pragma once

#include "backends/cuda/device_fault.h"
#include "backends/cuda/scratch.h"
#include "ops/args.h"

namespace fx::cuda {

class MeanBias {
 public:
  // Asks for the memory that it takes; none without a mean. `has_slot`: an adapter is added beside the weight.
  MeanBias(const LinearArgs& args, bool has_slot, ScratchParts& parts);

  // (B, out) f32: bias + (weight + adapter) x_mean, where the adapter is in the weight's front, or in the slot.
  Tensor make(std::byte* scratch, DeviceFault* fault, cudaStream_t stream) const;

 private:
  void add_slot(std::byte* scratch, const Tensor& bias, DeviceFault* fault, cudaStream_t stream) const;
  Tensor filled_up(std::byte* scratch, cudaStream_t stream) const;

  const LinearArgs& a_;
  bool has_slot_;
  int64_t bias_at_ = 0, inner_of_front_at_ = 0, row_at_ = 0, inner_at_ = 0;  // places in scratch memory
};

}  // namespace fx::cuda
