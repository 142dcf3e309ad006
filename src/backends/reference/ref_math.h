// Indexing and scalar functions of the reference back-end.
#pragma once

#include <cmath>

#include "core/error.h"
#include "ops/args.h"

namespace fx::ref {

// The address of element [i0, i1, ...]; missing trailing indices are 0.
template <class T = float, class... Index>
T* at(const Tensor& tensor, Index... index) {
  int64_t offset = 0;
  int axis = 0;
  ((offset += static_cast<int64_t>(index) * tensor.stride(axis++)), ...);
  return tensor.data<T>() + offset;
}

// Row of batch entry `batch` in the table, at the step that the device counter holds.
inline const float* row_of_step(const StepVector& vector, int64_t batch) {
  const int32_t step = *vector.step.i32();
  check(0 <= step && step < vector.table.size(0), ErrorCode::internal, "step {} is outside of a table of {} steps",
        step, vector.table.size(0));
  return at(vector.table, step, batch);
}

template <class Real, class A>
Real dot(const A* a, const float* b, int64_t count) {
  Real sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<Real>(a[i]) * b[i];
  return sum;
}

template <class Real>
Real sigmoid(Real x) {
  return 1 / (1 + std::exp(-x));
}

template <class Real>
Real activate(Activation activation, Real x) {
  constexpr Real kSqrt2OverPi = 0.79788456080286535588, kSqrtHalf = 0.70710678118654752440, kQuick = 1.702,
                 kCubic = 0.044715;
  switch (activation) {
    case Activation::none: return x;
    case Activation::silu: return x * sigmoid(x);
    case Activation::gelu_tanh: return x / 2 * (1 + std::tanh(kSqrt2OverPi * (x + kCubic * x * x * x)));
    case Activation::gelu_erf: return x / 2 * (1 + std::erf(x * kSqrtHalf));
    case Activation::quick_gelu: return x * sigmoid(kQuick * x);
  }
  return x;
}

}  // namespace fx::ref
