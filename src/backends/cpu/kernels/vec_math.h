// exp and the activation functions on vectors: polynomials, within 2 ulp of f32 (exp) and 4 ulp (activations, relative
// to the larger of input and output).
#pragma once

#include "backends/cpu/kernels/vec.h"
#include "ops/args.h"

namespace fx::FX_ISA {
namespace {

// 2^n * p(r) with x = n ln 2 + r, |r| <= ln 2 / 2. Exactly 0 below -87, where f32 leaves its normal range; saturates
// at 88. NaN stays NaN.
inline Vec exp(Vec x) {
  constexpr float kLowest = -87.0f, kHighest = 88.0f;
  const Vec clamped = x > kHighest ? splat(kHighest) : x;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low mantissa bits
  const Vec shifted = clamped * 1.44269504088896341f + kRound;
  const Vec n = shifted - kRound;
  const Vec r = clamped - n * 0.693359375f - n * -2.12194440e-4f;  // ln 2 in two parts, the first of them exact
  Vec p = splat(1.0f / 5040);
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const BitVec exponent = (BitVec)shifted << 23;  // the integer lands in the exponent field
  const Vec result = (Vec)((BitVec)p + exponent);
  return x < kLowest ? Vec{} : result;
}

inline Vec silu(Vec x) { return x / (1.0f + exp(-x)); }

// x / 2 (1 + tanh u) = x / (1 + exp(-2u)), u = sqrt(2 / pi) (x + 0.044715 x^3).
inline Vec gelu_tanh(Vec x) {
  const Vec minus_2u = x * (-1.5957691216057308f - 0.07135481627159f * (x * x));
  return x / (1.0f + exp(minus_2u));
}

inline Vec quick_gelu(Vec x) { return x / (1.0f + exp(x * -1.702f)); }

// erfc(a) = exp(-a g(a)) on [0, 4.5]; g is a least-squares polynomial over 400 Chebyshev nodes, from the constant up.
// Largest error of erfc with f32 coefficients and Horner steps: 5.1e-8 (degree 9: 1.5e-7, degree 11: 4.3e-8).
constexpr float kErfc[] = {1.128379225730896f,      0.6366165280342102f,      0.10279855877161026f,
                           -0.019202282652258873f,  -0.00012658006744459271f, 0.0017004151595756412f,
                           -0.0007024648948572576f, 0.00016381731256842613f,  -2.362210761930328e-05f,
                           1.961401949301944e-06f,  -7.182132577554512e-08f};
constexpr int kErfcTerms = sizeof kErfc / sizeof kErfc[0];

// x / 2 erfc(-x / sqrt 2).
inline Vec gelu_erf(Vec x) {
  Vec a = x * 0.70710678118654752f;
  a = a < 0.0f ? -a : a;
  a = a > 4.5f ? splat(4.5f) : a;  // erfc(4.5) = 2e-10 is nothing beside 1
  Vec g = splat(kErfc[kErfcTerms - 1]);
#pragma GCC unroll 16
  for (int i = kErfcTerms - 2; i >= 0; --i) g = g * a + kErfc[i];
  const Vec tail = 0.5f * x * exp(-a * g);
  return x < 0.0f ? tail : x - tail;
}

// Calls f with the activation function as an inlinable lambda.
template <class Function>
inline void with_activation(Activation activation, Function f) {
  switch (activation) {
    case Activation::none: return f([](Vec x) { return x; });
    case Activation::silu: return f([](Vec x) { return silu(x); });
    case Activation::gelu_tanh: return f([](Vec x) { return gelu_tanh(x); });
    case Activation::gelu_erf: return f([](Vec x) { return gelu_erf(x); });
    case Activation::quick_gelu: return f([](Vec x) { return quick_gelu(x); });
  }
}

}  // namespace
}  // namespace fx::FX_ISA
