#include "core/quantize.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "core/dtype.h"
#include "support/random.h"

namespace fx {
namespace {

using test::Rng;

// What e4m3 is called in a loop over many is what it is called alone, whatever instructions do it.
TEST(QuantizeRow, ManyValuesAreRoundedAsOneIs) {
  std::vector<float> values;
  for (uint32_t high = 0; high <= 0xffff;
       ++high) {  // all signs, exponents and first bits, with the ends of what follows
    for (const uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0xffffu})
      values.push_back(std::bit_cast<float>(high << 16 | low));
  }
  std::vector<uint8_t> bits(values.size());
  convert_from_f32(values.data(), DType::f8_e4m3, bits.data(), values.size());
  for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(bits[i], f32_to_f8_e4m3(values[i])) << values[i];
}

// The least power of two with which nothing is larger than asked for; of a width that no vector divides.
TEST(QuantizeRow, DividesByTheLeastPowerOfTwo) {
  constexpr int64_t n = 2049;
  Rng rng(3);
  for (const float most : {448.0f, 14.0f}) {
    for (const float size : {1e-30f, 3e-3f, 1.0f, 448.0f, 5e20f}) {
      std::vector<float> x(n);
      rng.fill_normal(x, size);
      std::vector<uint8_t> y(n);
      const float scale = quantize_row(x.data(), n, y.data(), most);
      int exponent = 0;
      EXPECT_EQ(std::frexp(scale, &exponent), 0.5f);
      float largest = 0;
      for (const float value : x) largest = std::max(largest, std::abs(value));
      EXPECT_LE(largest / scale, most);
      EXPECT_GT(largest / (scale / 2), most);
      for (int64_t i = 0; i < n; ++i) ASSERT_EQ(y[i], f32_to_f8_e4m3(x[i] / scale));
    }
  }
}

TEST(QuantizeRow, KeepsWhatIsNoNumber) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  std::vector<uint8_t> y(3);
  const std::vector<float> zeros = {0.0f, -0.0f, 0.0f}, tiny = {1e-40f, -1e-45f, 0.0f}, holes = {2.0f, nan, -448.0f},
                           endless = {1.0f, inf, -2.0f};
  EXPECT_EQ(quantize_row(zeros.data(), 3, y.data()), 1.0f);
  EXPECT_EQ(y, std::vector<uint8_t>({0, 0x80, 0}));
  EXPECT_EQ(quantize_row(tiny.data(), 3, y.data()), std::numeric_limits<float>::min());
  EXPECT_EQ(quantize_row(holes.data(), 3, y.data()), 1.0f);
  EXPECT_EQ(y[0], 0x40);
  EXPECT_EQ(y[1] & 0x7f, 0x7f);
  EXPECT_EQ(y[2], 0xfe);
  EXPECT_EQ(quantize_row(endless.data(), 3, y.data()), inf);
  EXPECT_EQ(y[1] & 0x7f, 0x7f);
}

}  // namespace
}  // namespace fx
