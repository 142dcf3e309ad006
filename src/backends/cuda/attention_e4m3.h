// What attention in e4m3 needs around cuDNN's kernel: queries, keys and values rounded to e4m3, the numbers that scale
// them, and the way back of the result.
//
// Queries and keys come normed and are cast as they are. Values go without their mean over the tokens (value_means.h says why),
// scaled by the power of two that brings the largest to 448 or below. A result is a weighted mean of them, so their scale fits
// it as well; the way back adds the values' mean, or leaves it to whoever reads the result. Then a row is in e4m3 already, and
// rounding it again changes nothing, but for values far below others that stand in the same row of a layer's input.
#pragma once

#include <cuda_bf16.h>

#include "backends/cuda/scratch.h"
#include "backends/cuda/sdpa.h"
#include "ops/args.h"

namespace fx::cuda {

// Strides of batch, row and head; axes of one entry get one that fits in with the others.
std::array<int64_t, 3> strides_of(const Tensor& heads);

// Lies in the scratch memory given, but for means that the caller wants. It lays that out from shapes alone: addresses are the
// same in each call.
class E4m3Attention {
 public:
  struct Numbers;  // scales, on the device

  // Whether shapes and addresses allow it; what cuDNN says is another question.
  static bool takes(const AttentionArgs& args);

  E4m3Attention(const AttentionArgs& args, Scratch& scratch);
  SdpaProblem problem() const;
  Fp8Scales scales() const;
  void quantize(cudaStream_t stream) const;
  void widen(cudaStream_t stream) const;

 private:
  const AttentionArgs& args_;
  int64_t batch_, tokens_, channels_;
  int64_t parts_;  // that are rounded here: q, k and v, or v alone where the others come in e4m3
  Numbers* numbers_;
  float* reach_;          // of values, see value_means.h
  __nv_bfloat16* means_;  // (B, N, D): the caller's, where he wants them
  uint8_t* narrow_;       // (B, L, parts, N, D)
  uint8_t* o_;            // (B, L, N, D)
};

}  // namespace fx::cuda
