// The low-rank term of a linear layer. Which ranks feed which rows stands in device memory and is read by the kernels, so
// that an adapter change needs no new launch parameters.
#pragma once

#include <cuda_runtime_api.h>

#include "backends/cuda/device_fault.h"
#include "ops/args.h"

namespace fx::cuda {

// t = x a^T for the ranks in use; t is (rows of x, R), dense. Notes broken counts and segments.
void lora_down(const LoraOperand& lora, const Tensor& x, float* t, DeviceFault* fault, cudaStream_t stream);

// y += (t * scale)[:, ranks] b[rows, ranks]^T for each segment, on the columns of y, which are the rows
// [first_row, first_row + columns) of b. `y` is (B, L, columns). Columns that no segment feeds are not touched.
void lora_up(const LoraOperand& lora, const float* t, int64_t first_row, const Tensor& y, cudaStream_t stream);

}  // namespace fx::cuda
