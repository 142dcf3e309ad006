// Rows of activations in e4m3, and the gate of a residual folded into scales and bias, which makes a gated addition a
// plain product: y += gate * (x w^T + bias) is y += x w'^T + bias', where w' has the scales weight_scale * gate.
#pragma once

#include <cuda_runtime_api.h>

#include "backends/cuda/device_fault.h"
#include "ops/args.h"

namespace fx::cuda {

struct GateFold {
  StepVector gate;      // (S, B, out), or undefined: 1
  Tensor weight_scale;  // (out)
  Tensor bias;          // (out) or (B, out) f32 or bf16, or undefined
  int64_t batches = 0;
  float* scale = nullptr;       // (B, out): weight_scale * gate of the step that runs
  void* folded_bias = nullptr;  // (B, out) bf16: bias * gate; null where there is no bias
  bool defined() const { return scale != nullptr; }
};

// Where rows in e4m3 go, counted through the batch, and the bound of their magnitudes.
struct QuantizedRows {
  void* values = nullptr;
  int64_t pitch = 0;       // bytes from one row to the next
  float* scale = nullptr;  // dense
  float largest = 448.0f;
};

// x (B, L, C) of f32 or bf16 to B * L rows of y. A defined `fold` is done by the same launch.
void quantize_rows(const Tensor& x, const QuantizedRows& y, const GateFold& fold, DeviceFault* fault,
                   cudaStream_t stream);

void fold_gate(const GateFold& fold, DeviceFault* fault, cudaStream_t stream);

}  // namespace fx::cuda
