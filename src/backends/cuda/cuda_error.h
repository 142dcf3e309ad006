// CUDA's status codes as our errors. Free of fmt, so that .cu files can include it.
#pragma once

#include <cuda_runtime_api.h>

namespace fx::cuda {

// Throws Error(device) "CUDA: WHAT failed: REASON", or out_of_memory, unless `status` is success.
void check_cuda(cudaError_t status, const char* what);

// After a kernel launch: throws if the launch was refused.
void check_launch(const char* kernel);

}  // namespace fx::cuda
