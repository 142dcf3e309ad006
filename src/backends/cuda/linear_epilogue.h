// What a linear layer does to a product that the product's own kernel cannot: one pass over it.
#pragma once

#include <cuda_runtime_api.h>

#include "backends/cuda/device_fault.h"
#include "ops/args.h"

namespace fx::cuda {

// y = activation(product + bias), or with `add` y += gate * activation(product + bias). y may be the product.
struct LinearEpilogue {
  Tensor product, y;  // (B, L, n) f32 or bf16; of one type unless the product is f32
  const void* bias = nullptr;
  int64_t bias_batch = 0;        // from the bias of one entry to that of the next; 0: all have the same
  DType bias_type = DType::f32;  // or bf16
  Activation activation = Activation::none;
  bool add = false;
  StepVector gate;        // (S, B, out), or undefined
  int64_t first_row = 0;  // of the weight: the column of the gate that belongs to column 0
};

void linear_epilogue(const LinearEpilogue& epilogue, DeviceFault* fault, cudaStream_t stream);

}  // namespace fx::cuda
