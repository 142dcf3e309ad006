// The back-ends, by what they are. Only applications, benchmarks and tests choose one; everything else sees Ops.
#pragma once

#include <memory>

#include "ops/ops.h"

namespace fx {

// Double accumulation, plain loops, one thread: the executable definition of every operation. Slow on purpose.
std::unique_ptr<Ops> make_reference_ops();

// CPU threads, f32. `threads` 0 takes all cores. Results are bitwise the same for any number of
// threads.
std::unique_ptr<Ops> make_cpu_ops(int threads = 0);

// The first NVIDIA GPU that CUDA_VISIBLE_DEVICES leaves, f32. Under construction: it has not run on a GPU yet.
// Throws unsupported where this build has no CUDA back-end or none for the GPU that is there, and device, with the
// driver's reason, where there is no GPU or CUDA's libraries are missing.
std::unique_ptr<Ops> make_cuda_ops();

}  // namespace fx
