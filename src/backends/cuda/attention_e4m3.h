// What attention in e4m3 needs around cuDNN's kernel: queries, keys and values rounded to e4m3, the numbers that scale
// them, and the way back of the result.
//
// Queries and keys come normed and are cast as they are; values are scaled by the power of two that brings the largest to 448
// or below. A result is a mean of values, so the scale of the values fits it as well; and what comes out is in e4m3, so that
// the layer that reads it, whose scales are powers of two too, rounds it no further where it is not much smaller than what
// else is in the row.
#pragma once

#include "backends/cuda/scratch.h"
#include "backends/cuda/sdpa.h"
#include "ops/args.h"

namespace fx::cuda {

// Strides of batch, row and head; axes of one entry get one that fits in with the others.
std::array<int64_t, 3> strides_of(const Tensor& heads);

// Lies in the scratch memory given, which it lays out from shapes alone: addresses are the same in each call.
class E4m3Attention {
 public:
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
  int64_t parts_;    // that are rounded here: q, k and v, or v alone where the others come in e4m3
  float* numbers_;   // see the .cu file
  uint8_t* narrow_;  // (B, L, parts, N, D)
  uint8_t* o_;      // (B, L, N, D)
};

}  // namespace fx::cuda
