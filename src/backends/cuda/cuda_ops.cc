#include "backends/cuda/cuda_ops.h"

#include "backends/make_ops.h"
#include "core/error.h"

namespace fx::cuda {

CudaOps::CudaOps() : matmul_(runtime_), scratch_(runtime_) {
  const cudaError_t status = probe_kernels();
  check(status == cudaSuccess, ErrorCode::unsupported,
        "this build has kernels for the architectures {}, and {} has compute capability {}.{}: {}",
        FX_CUDA_ARCHITECTURES, runtime_.device_name(), runtime_.compute_capability() / 10,
        runtime_.compute_capability() % 10, cudaGetErrorString(status));
}

CudaOps::~CudaOps() {
  cudaStreamSynchronize(stream());  // nothing may still run when scratch memory and plans go
}

}  // namespace fx::cuda

namespace fx {

std::unique_ptr<Ops> make_cuda_ops() { return std::make_unique<cuda::CudaOps>(); }

}  // namespace fx
