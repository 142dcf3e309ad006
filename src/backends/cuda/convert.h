// Operands of a matrix product in the type that it is computed in.
#pragma once

#include <cuda_runtime_api.h>

#include "ops/args.h"

namespace fx::cuda {

// y = x, or x * scale where x is e4m3; y is dense (B, L, C), f32 or bf16 of f32, bf16 or e4m3. x is (B, L, C), scale
// (B, L) f32 of any strides.
void convert_rows(const Tensor& x, const Tensor& scale, DType type, void* y, cudaStream_t stream);

// y = x in e4m3, without scales: x is dense (B, L, C) bf16, y (B, L, C) of any strides, C a multiple of 8 and all rows of y
// at multiples of 8 bytes.
void narrow_rows(const void* x, const Tensor& y, cudaStream_t stream);

}  // namespace fx::cuda
