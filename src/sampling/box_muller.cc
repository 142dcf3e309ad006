// Logarithm, sine and cosine in f32 are the polynomials of the Cephes library, in the order of operations of torch's AVX2
// noise kernel, whose compiler fused products and sums. The standard library is more accurate and therefore of no use here:
// the noise of a seed is defined by these very roundings.
#include "sampling/box_muller.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <numbers>

// Into functions for other instruction sets, where std::fma is one instruction and a loop becomes vectors.
#define FX_INLINE [[gnu::always_inline]] inline

namespace fx {
namespace {

// c[0] x^(n-1) + ... + c[n-1]
template <int n>
FX_INLINE float horner(const float (&coefficients)[n], float x) {
  float sum = coefficients[0];
  for (int i = 1; i < n; ++i) sum = std::fma(sum, x, coefficients[i]);
  return sum;
}

// Of a normal number above 0.
FX_INLINE float cephes_log(float x) {
  constexpr float kSqrtHalf = 0.707106781186547524f;
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kTerms[] = {7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,
                              -1.2420140846e-1f, 1.4249322787e-1f,  -1.6668057665e-1f,
                              2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
  // x = m 2^e with m in [sqrt(1/2), sqrt(2)); log(m) around 1.
  const auto bits = std::bit_cast<uint32_t>(x);
  float e = static_cast<float>(static_cast<int32_t>(bits >> 23) - 126);
  float m = std::bit_cast<float>((bits & 0x007fffffu) | 0x3f000000u);
  if (m < kSqrtHalf) {
    e -= 1;
    m = (m - 1.0f) + m;
  } else {
    m -= 1.0f;
  }
  const float square = m * m;
  float tail = horner(kTerms, m) * m;
  tail = std::fma(tail, square, e * kLn2Low);
  tail = std::fma(square, -0.5f, tail);
  return std::fma(e, kLn2High, m + tail);
}

struct SinCos {
  float sin, cos;
};

// Of an angle from 0 to 2 pi.
FX_INLINE SinCos cephes_sincos(float angle) {
  constexpr float kFourOverPi = 1.27323954473516f;
  constexpr float kPiQuarter[] = {-0.78515625f, -2.4187564849853515625e-4f,
                                  -3.77489497744594108e-8f};  // in three parts
  constexpr float kSinTerms[] = {-1.9515295891e-4f, 8.3321608736e-3f, -1.6666654611e-1f};
  constexpr float kCosTerms[] = {2.443315711809948e-5f, -1.388731625493765e-3f, 4.166664568298827e-2f};
  // The nearest even number of eighths of a turn, and what remains of the angle, at most pi/4.
  const int eighths = (static_cast<int>(angle * kFourOverPi) + 1) & ~1;
  float rest = angle;
  for (const float part : kPiQuarter) rest = std::fma(static_cast<float>(eighths), part, rest);
  const float square = rest * rest;

  float near_one = horner(kCosTerms, square) * square;
  near_one = std::fma(near_one, square, square * -0.5f) + 1.0f;
  const float near_zero = std::fma(horner(kSinTerms, square) * square, rest, rest);
  const bool swapped = (eighths & 2) != 0;
  SinCos result = swapped ? SinCos{near_one, near_zero} : SinCos{near_zero, near_one};
  if (eighths & 4) result.sin = -result.sin;
  if ((eighths + 2) & 4) result.cos = -result.cos;
  return result;
}

constexpr size_t kHalf = kBoxMullerBlock / 2;

// The "+ 0.0f" is torch's addition of the mean; it turns -0 into +0.
FX_INLINE void transform(float* block) {
  for (size_t i = 0; i < kHalf; ++i) {
    const float u1 = 1.0f - block[i];  // (0, 1], safe for the logarithm
    const float u2 = block[i + kHalf];
    const float radius = std::sqrt(-2.0f * cephes_log(u1));
    const SinCos turn = cephes_sincos(static_cast<float>(2 * std::numbers::pi) * u2);
    block[i] = radius * turn.cos + 0.0f;
    block[i + kHalf] = radius * turn.sin + 0.0f;
  }
}

FX_INLINE void transform_all(float* values, size_t blocks) {
  for (size_t i = 0; i < blocks; ++i) transform(values + i * kBoxMullerBlock);
}

[[gnu::target("avx2,fma")]] void transform_fused(float* values, size_t blocks) { transform_all(values, blocks); }
void transform_plain(float* values, size_t blocks) { transform_all(values, blocks); }

}  // namespace

void box_muller_f32(float* values, size_t blocks) {
  static const bool fused = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  (fused ? transform_fused : transform_plain)(values, blocks);
}

}  // namespace fx
