// Each kernel source fills its part of the table of one instruction set.
#pragma once

#include "backends/cpu/kernels/kernels.h"

namespace fx::FX_ISA {

void fill_gemm(Kernels& kernels);
void fill_epilogue(Kernels& kernels);
void fill_norms(Kernels& kernels);
void fill_elementwise(Kernels& kernels);
void fill_image(Kernels& kernels);

}  // namespace fx::FX_ISA
