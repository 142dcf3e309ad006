#include "backends/cpu/kernels/table.h"

namespace fx::FX_ISA {
namespace {

// y may be a or b, so there is no `restrict` here; the pragma says that elements do not depend on each other.
void add(const float* a, const float* b, float* y, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = a[i] + b[i];
}

void multiply_elements(const float* a, const float* b, float* y, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = a[i] * b[i];
}

void add_scaled(float factor, const float* x, float* y, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] += factor * x[i];
}

}  // namespace

void fill_elementwise(Kernels& kernels) {
  kernels.add = add;
  kernels.multiply_elements = multiply_elements;
  kernels.add_scaled = add_scaled;
}

}  // namespace fx::FX_ISA
