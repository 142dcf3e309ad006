#include "core/dtype.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "support/expect_error.h"

namespace fx {
namespace {

using test::error_of;
using ::testing::HasSubstr;

constexpr DType kAll[] = {DType::f64,     DType::f32, DType::f16, DType::bf16, DType::f8_e4m3,
                          DType::f8_e5m2, DType::i64, DType::i32, DType::i16,  DType::i8,
                          DType::u64,     DType::u32, DType::u16, DType::u8,   DType::boolean};
constexpr float kInf = std::numeric_limits<float>::infinity();

uint32_t bits(float value) { return std::bit_cast<uint32_t>(value); }

TEST(DType, SizesAndNames) {
  std::set<std::string_view> names;
  for (const DType dtype : kAll) names.insert(name(dtype));
  EXPECT_EQ(names.size(), std::size(kAll));
  EXPECT_EQ(size_of(DType::f64), 8u);
  EXPECT_EQ(size_of(DType::bf16), 2u);
  EXPECT_EQ(size_of(DType::f8_e5m2), 1u);
  EXPECT_EQ(size_of(DType::u32), 4u);
  EXPECT_EQ(name(DType::bf16), "bf16");
  EXPECT_TRUE(is_floating(DType::f8_e4m3));
  EXPECT_FALSE(is_floating(DType::i8));
  EXPECT_FALSE(is_floating(DType::boolean));
}

TEST(DType, F16KnownValues) {
  EXPECT_EQ(f16_to_f32(0x3c00), 1.0f);
  EXPECT_EQ(f16_to_f32(0xc000), -2.0f);
  EXPECT_EQ(f16_to_f32(0x7bff), 65504.0f);
  EXPECT_EQ(f16_to_f32(0x0001), 0x1p-24f);
  EXPECT_EQ(f16_to_f32(0x0400), 0x1p-14f);
  EXPECT_EQ(f16_to_f32(0x7c00), kInf);
  EXPECT_EQ(f16_to_f32(0xfc00), -kInf);
  EXPECT_TRUE(std::isnan(f16_to_f32(0x7e00)));
  EXPECT_EQ(bits(f16_to_f32(0x8000)), 0x80000000u);
}

TEST(DType, F8KnownValues) {
  EXPECT_EQ(f8_e4m3_to_f32(0x38), 1.0f);
  EXPECT_EQ(f8_e4m3_to_f32(0x7e), 448.0f);
  EXPECT_EQ(f8_e4m3_to_f32(0x01), 0x1p-9f);
  EXPECT_EQ(f8_e4m3_to_f32(0xb8), -1.0f);
  EXPECT_TRUE(std::isnan(f8_e4m3_to_f32(0x7f)));
  EXPECT_TRUE(std::isnan(f8_e4m3_to_f32(0xff)));
  EXPECT_EQ(f8_e5m2_to_f32(0x3c), 1.0f);
  EXPECT_EQ(f8_e5m2_to_f32(0x7b), 57344.0f);
  EXPECT_EQ(f8_e5m2_to_f32(0x01), 0x1p-16f);
  EXPECT_EQ(f8_e5m2_to_f32(0x7c), kInf);
  EXPECT_TRUE(std::isnan(f8_e5m2_to_f32(0x7d)));
}

TEST(DType, EveryHalfSurvivesTheWayThroughF32) {
  for (uint32_t half = 0; half <= 0xffff; ++half) {
    const auto value = static_cast<uint16_t>(half);
    if (std::isnan(f16_to_f32(value))) {
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(f16_to_f32(value)))));
    } else {
      ASSERT_EQ(f32_to_f16(f16_to_f32(value)), value);
    }
    if (std::isnan(bf16_to_f32(value))) {
      EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(bf16_to_f32(value)))));
    } else {
      ASSERT_EQ(f32_to_bf16(bf16_to_f32(value)), value);
    }
  }
}

// Between each two neighbours: below the middle down, above it up, on it to the even one.
template <class Narrow, class Widen>
void check_rounding(Narrow narrow, Widen widen, uint16_t largest, uint16_t sign = 0x8000) {
  for (uint16_t low = 0; low < largest; ++low) {
    const float a = widen(low), b = widen(static_cast<uint16_t>(low + 1));
    const float middle = a + (b - a) / 2;
    const uint16_t even = low % 2 == 0 ? low : low + 1;
    ASSERT_EQ(narrow(middle), even) << low;
    ASSERT_EQ(narrow(std::nextafter(middle, -kInf)), low) << low;
    ASSERT_EQ(narrow(std::nextafter(middle, kInf)), low + 1) << low;
    ASSERT_EQ(narrow(-middle), even | sign) << low;
  }
}

TEST(DType, F16RoundsToNearestEven) {
  check_rounding(f32_to_f16, f16_to_f32, 0x7bff);
  EXPECT_EQ(f32_to_f16(65519.0f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(-1e30f), 0xfc00);
  EXPECT_EQ(f32_to_f16(kInf), 0x7c00);
  EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(std::nanf("")))));
}

TEST(DType, BF16RoundsToNearestEven) {
  check_rounding(f32_to_bf16, bf16_to_f32, 0x7f7f);
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(f32_to_bf16(-kInf), 0xff80);
  const auto narrow_nan = std::bit_cast<float>(0x7f800001u);  // plain rounding would make it infinite
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(narrow_nan))));
}

TEST(DType, E4M3RoundsToNearestEvenAndSaturates) {
  for (uint32_t bits = 0; bits <= 0xff; ++bits) {
    const auto value = static_cast<uint8_t>(bits);
    ASSERT_EQ(f32_to_f8_e4m3(f8_e4m3_to_f32(value)), value);  // the two NaN as well
  }
  const auto widen = [](uint16_t bits) { return f8_e4m3_to_f32(static_cast<uint8_t>(bits)); };
  check_rounding(f32_to_f8_e4m3, widen, 0x7e, 0x80);
  EXPECT_EQ(f32_to_f8_e4m3(463.9f), 0x7e);
  EXPECT_EQ(f32_to_f8_e4m3(464.0f), 0x7e);
  EXPECT_EQ(f32_to_f8_e4m3(-1e30f), 0xfe);
  EXPECT_EQ(f32_to_f8_e4m3(kInf), 0x7e);
  EXPECT_EQ(f32_to_f8_e4m3(-0.0f), 0x80);
  EXPECT_EQ(f32_to_f8_e4m3(1e-40f), 0x00);
  EXPECT_EQ(f32_to_f8_e4m3(std::bit_cast<float>(0x7f800001u)), 0x7f);
}

TEST(DType, ConvertsUnalignedDataOfEveryFloatingType) {
  const std::vector<float> values = {0.0f, 1.0f, -2.0f, 0.5f};
  const auto converted = [&](DType dtype, const std::string& data) {
    const std::string shifted = "x" + data;
    std::vector<float> out(values.size());
    convert_to_f32(dtype, shifted.data() + 1, out.data(), out.size());
    return out;
  };
  const auto raw = [](const auto& elements) {
    return std::string(reinterpret_cast<const char*>(elements.data()), sizeof(elements));
  };
  EXPECT_EQ(converted(DType::f32, raw(std::array{0.0f, 1.0f, -2.0f, 0.5f})), values);
  EXPECT_EQ(converted(DType::f64, raw(std::array{0.0, 1.0, -2.0, 0.5})), values);
  EXPECT_EQ(converted(DType::f16, raw(std::array<uint16_t, 4>{0, 0x3c00, 0xc000, 0x3800})), values);
  EXPECT_EQ(converted(DType::bf16, raw(std::array<uint16_t, 4>{0, 0x3f80, 0xc000, 0x3f00})), values);
  EXPECT_EQ(converted(DType::f8_e4m3, raw(std::array<uint8_t, 4>{0, 0x38, 0xc0, 0x30})), values);
  EXPECT_EQ(converted(DType::f8_e5m2, raw(std::array<uint8_t, 4>{0, 0x3c, 0xc0, 0x38})), values);
}

TEST(DType, ConvertsFromF32) {
  const std::array<float, 3> values = {1.0f, -2.5f, 1e-8f};
  std::array<float, 3> back{};
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f8_e4m3}) {
    std::array<float, 3> storage{};
    convert_from_f32(values.data(), dtype, storage.data(), 3);
    convert_to_f32(dtype, storage.data(), back.data(), 3);
    EXPECT_EQ(back[1], -2.5f);
    EXPECT_NEAR(back[2], 1e-8f, dtype == DType::f16 || dtype == DType::f8_e4m3 ? 1e-7f : 1e-10f);
  }
}

TEST(DType, RefusesTypesThatHoldNoFloats) {
  float value = 0;
  for (const DType dtype : {DType::i64, DType::u8, DType::boolean}) {
    EXPECT_THAT(error_of(ErrorCode::unsupported, [&] { convert_to_f32(dtype, &value, &value, 1); }),
                HasSubstr("expected a floating type"));
  }
  for (const DType dtype : {DType::f64, DType::f8_e5m2, DType::i32}) {
    EXPECT_THAT(error_of(ErrorCode::unsupported, [&] { convert_from_f32(&value, dtype, &value, 1); }),
                HasSubstr("expected f32, f16, bf16 or f8_e4m3"));
  }
}

}  // namespace
}  // namespace fx
