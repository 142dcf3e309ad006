// The back-ends, by what they are. Only applications, benchmarks and tests choose one; everything else sees Ops.
#pragma once

#include <climits>
#include <memory>

#include "ops/ops.h"

namespace fx {

// Double accumulation, plain loops, one thread: the executable definition of every operation. Slow on purpose.
std::unique_ptr<Ops> make_reference_ops();

// CPU threads, f32. `threads` 0 takes all cores. Results are bitwise the same for any number of
// threads.
std::unique_ptr<Ops> make_cpu_ops(int threads = 0);

struct CudaOptions {
  // Compute as a GPU of at most this capability would (80: Ampere, 89: Ada): how tests reach the paths of older cards.
  int capability_limit = INT_MAX;
  // Attention through cuDNN where it can; off: two products around a softmax, as a baseline.
  bool fused_attention = true;
};

// The first NVIDIA GPU that CUDA_VISIBLE_DEVICES leaves: f32, bf16 and e4m3.
// Throws unsupported where this build has no CUDA back-end or none for the GPU that is there, and device, with the
// driver's reason, where there is no GPU or CUDA's libraries are missing.
std::unique_ptr<Ops> make_cuda_ops(const CudaOptions& options = {});

}  // namespace fx
