// Norms of one row. Sums run in kLanes partial sums per register, so that they vectorise and round little.
#include "backends/cpu/kernels/table.h"
#include "backends/cpu/kernels/vec.h"

namespace fx::FX_ISA {
namespace {

float sum_of_squares(const float* x, float mean, int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += (x[i] - mean) * (x[i] - mean);
  return sum;
}

void layer_norm(const float* x, const float* gain, float gain_offset, const float* bias, float* y, int64_t count,
                float eps) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += x[i];
  const float mean = sum / static_cast<float>(count);
  const float variance = sum_of_squares(x, mean, count) / static_cast<float>(count);
  const float inverse = 1.0f / __builtin_sqrtf(variance + eps);
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = (x[i] - mean) * inverse * (gain[i] + gain_offset) + bias[i];
}

float inverse_rms(const float* x, int64_t count, float eps) {
  return 1.0f / __builtin_sqrtf(sum_of_squares(x, 0.0f, count) / static_cast<float>(count) + eps);
}

void rms_norm(const float* x, const float* gain, float* y, int64_t count, float eps) {
  const float inverse = inverse_rms(x, count, eps);
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] * inverse * gain[i];
}

// Pairs (2i, 2i+1) turn by the angle whose cosine and sine lie at pe[2i], pe[2i+1].
void norm_rope(float* x, const float* gain, const float* pe, int64_t count, float eps) {
  const float inverse = inverse_rms(x, count, eps);
  Vec sign;
  for (int lane = 0; lane < kLanes; ++lane) sign[lane] = lane % 2 == 0 ? -1.0f : 1.0f;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Vec v = load(x + i) * inverse * load(gain + i), turn = load(pe + i);
    const Vec cosine = pick(
        turn, turn, [](int lane) constexpr { return lane & ~1; });
    const Vec sine = pick(
        turn, turn, [](int lane) constexpr { return lane | 1; });
    const Vec other = pick(
        v, v, [](int lane) constexpr { return lane ^ 1; });
    store(x + i, v * cosine + other * (sign * sine));
  }
  for (; i < count; i += 2) {
    const float a = x[i] * inverse * gain[i], b = x[i + 1] * inverse * gain[i + 1];
    x[i] = a * pe[i] - b * pe[i + 1];
    x[i + 1] = a * pe[i + 1] + b * pe[i];
  }
}

}  // namespace

void fill_norms(Kernels& kernels) {
  kernels.layer_norm = layer_norm;
  kernels.rms_norm = rms_norm;
  kernels.norm_rope = norm_rope;
}

}  // namespace fx::FX_ISA
