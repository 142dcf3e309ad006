#include "backends/cpu/kernels/table.h"

namespace fx::FX_ISA {

Kernels make_kernels() {
  Kernels kernels{};
  fill_gemm(kernels);
  fill_epilogue(kernels);
  fill_norms(kernels);
  fill_elementwise(kernels);
  fill_image(kernels);
  return kernels;
}

}  // namespace fx::FX_ISA
