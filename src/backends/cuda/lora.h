// The low-rank term of a linear layer. Which ranks feed which rows stands in device memory and is read by the kernels, so
// that an adapter change needs no new launch parameters.
#pragma once

#include <cuda_runtime_api.h>

#include "backends/cuda/device_fault.h"
#include "ops/args.h"

namespace fx::cuda {

struct LoraInput {
  const Tensor& x;       // (B, L, in): f32 or bf16, or e4m3 beside a slot of bf16
  const float* x_scale;  // null unless x is e4m3; dense, one for each row of x
};

// t = scale * (x a^T) for the ranks in use; what the other ranks get is not said. t is (rows of x, R), dense, in scratch
// memory: bf16 for slots of bf16, f32 for slots of f32. Notes broken counts and segments.
void lora_down(const LoraOperand& lora, const LoraInput& input, void* t, DeviceFault* fault, cudaStream_t stream);

// set: y = term, zeros in columns that no segment feeds. add: y += gate * term where a segment acts.
enum class LoraWrite { set, add };

// The term is t[:, ranks] b^T, summed over the segments and their blocks of b. y is (B, L, columns), f32 or bf16; its
// columns are the rows [first_row, first_row + columns) of the layer. The gate, null for 1, has one value for each row of
// the layer and goes with `add`.
void lora_up(const LoraOperand& lora, const void* t, int64_t first_row, const Tensor& y, LoraWrite write,
             const StepVector* gate, DeviceFault* fault, cudaStream_t stream);

// weight = base + the difference of the slot; see MergeLoraArgs.
void merge_lora(const MergeLoraArgs& args, DeviceFault* fault, cudaStream_t stream);

// Both halves of folded adapters; see FoldLoraArgs.
void fold_loras(const FoldLorasArgs& args, DeviceFault* fault, cudaStream_t stream);

}  // namespace fx::cuda
