#include "core/quantize.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/dtype.h"

namespace fx {
namespace {

// Of the bits as integers, which have the order of magnitudes: a loop over them becomes vectors.
[[gnu::always_inline]] inline float largest_of(const float* x, int64_t count) {
  int32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t bits = __builtin_bit_cast(int32_t, x[i]) & 0x7fffffff, number = bits <= 0x7f800000;
    largest = std::max(largest, bits & -number);
  }
  return __builtin_bit_cast(float, largest);
}
float largest_magnitude(const float* x, int64_t count) { return largest_of(x, count); }
[[gnu::target("avx2")]] float largest_magnitude_avx2(const float* x, int64_t count) { return largest_of(x, count); }

// Never subnormal, so that its inverse is finite.
float scale_of(float largest, float most) {
  if (!(largest > 0)) return 1.0f;
  if (std::isinf(largest)) return largest;
  int exponent = 0;
  const float share = std::frexp(std::max(largest / most, std::numeric_limits<float>::min()), &exponent);  // 0.5 to 1
  return std::ldexp(1.0f, share > 0.5f ? exponent : exponent - 1);
}

}  // namespace

float quantize_row(const float* x, int64_t count, uint8_t* y, float most) {
  const auto find_largest = __builtin_cpu_supports("avx2") ? largest_magnitude_avx2 : largest_magnitude;
  const float scale = scale_of(find_largest(x, count), most);
  multiply_to_f8_e4m3(x, 1.0f / scale, y, static_cast<size_t>(count));  // the inverse is exact
  return scale;
}

}  // namespace fx
