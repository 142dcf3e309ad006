#include "backends/cuda/cuda_ops.h"

#include "backends/make_ops.h"
#include "core/error.h"

namespace fx::cuda {

CudaOps::CudaOps(const CudaOptions& options)
    : options_(options),
      matmul_(runtime_, options.capability_limit),
      scratch_(runtime_),
      cudnn_(runtime_),
      sdpa_(cudnn_),
      convolution_(cudnn_),
      widened_(runtime_) {
  const cudaError_t status = probe_kernels();
  check(status == cudaSuccess, ErrorCode::unsupported,
        "this build has kernels for the architectures {}, and {} has compute capability {}.{}: {}",
        FX_CUDA_ARCHITECTURES, runtime_.device_name(), runtime_.compute_capability() / 10,
        runtime_.compute_capability() % 10, cudaGetErrorString(status));
}

bool CudaOps::multiplies_in(DType dtype) const {
  return dtype == DType::f8_e4m3 ? matmul_.outer_vector_fp8() : computes_in(dtype);
}

CudaOps::~CudaOps() {
  cudaStreamSynchronize(stream());  // nothing may still run when scratch memory and plans go
}

}  // namespace fx::cuda

namespace fx {

std::unique_ptr<Ops> make_cuda_ops(const CudaOptions& options) { return std::make_unique<cuda::CudaOps>(options); }

}  // namespace fx
