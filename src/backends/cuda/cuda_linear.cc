#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/linear_run.h"

namespace fx::cuda {

void CudaOps::do_linear(const LinearArgs& a) {
  if (a.x.size(0) * a.x.size(1) == 0 || a.weight.size(0) == 0) return;
  const LinearDevice device{matmul_, scratch_, fault(), stream()};
  LinearRun(device, a).run();
}

}  // namespace fx::cuda
