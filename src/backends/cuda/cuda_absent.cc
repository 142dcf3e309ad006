// What is linked where CUDA was not found at build time.
#include "backends/make_ops.h"
#include "core/error.h"

namespace fx {

std::unique_ptr<Ops> make_cuda_ops(const CudaOptions&) {
  fail(ErrorCode::unsupported,
       "this build has no CUDA back-end: build it where nvcc is on the PATH, or compute on the cpu");
}

}  // namespace fx
