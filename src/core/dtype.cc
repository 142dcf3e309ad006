#include "core/dtype.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"

namespace fx {
namespace {

struct DTypeInfo {
  std::string_view name;
  size_t bytes;
  bool floating;
};

// In the order of the enum.
constexpr std::array<DTypeInfo, 15> kInfo = {{{"f64", 8, true}, {"f32", 4, true}, {"f16", 2, true}, {"bf16", 2, true},
                                              {"f8_e4m3", 1, true}, {"f8_e5m2", 1, true}, {"i64", 8, false},
                                              {"i32", 4, false}, {"i16", 2, false}, {"i8", 1, false}, {"u64", 8, false},
                                              {"u32", 4, false}, {"u16", 2, false}, {"u8", 1, false},
                                              {"bool", 1, false}}};

const DTypeInfo& info(DType dtype) { return kInfo[static_cast<size_t>(dtype)]; }

// A float of `exponent_bits` and `mantissa_bits` as f32. `ieee` says whether the top exponent means infinity and NaN.
float widen(uint32_t bits, int exponent_bits, int mantissa_bits, bool ieee) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const uint32_t sign = bits >> (exponent_bits + mantissa_bits) & 1;
  const int exponent = static_cast<int>(bits >> mantissa_bits & ((1u << exponent_bits) - 1));
  const uint32_t mantissa = bits & ((1u << mantissa_bits) - 1);
  const int top = (1 << exponent_bits) - 1;
  float value;
  if (ieee && exponent == top) {
    value = mantissa ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
  } else if (!ieee && exponent == top && mantissa == (1u << mantissa_bits) - 1) {
    value = std::numeric_limits<float>::quiet_NaN();  // e4m3fn has no infinity and one NaN
  } else if (exponent == 0) {
    value = std::ldexp(static_cast<float>(mantissa), 1 - bias - mantissa_bits);
  } else {
    value = std::ldexp(static_cast<float>(mantissa | 1u << mantissa_bits), exponent - bias - mantissa_bits);
  }
  return sign ? -value : value;
}

template <class T, class Convert>
void convert_each(const void* source, float* target, size_t count, Convert convert) {
  const auto* bytes = static_cast<const unsigned char*>(source);
  for (size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, bytes + i * sizeof(T), sizeof(T));  // file data need not be aligned
    target[i] = convert(value);
  }
}

// Without a branch, and for other instruction sets too: a loop over many becomes vectors.
[[gnu::always_inline]] inline uint16_t bf16_of(float value) {
  const auto bits = __builtin_bit_cast(uint32_t, value);
  const uint32_t quiet = bits >> 16 | 0x40, rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
}
void to_bf16(const float* source, uint16_t* target, size_t count) {
  for (size_t i = 0; i < count; ++i) target[i] = bf16_of(source[i]);
}
[[gnu::target("avx2")]] void to_bf16_avx2(const float* source, uint16_t* target, size_t count) {
  for (size_t i = 0; i < count; ++i) target[i] = bf16_of(source[i]);
}

// Below the smallest normal number, 2^-6, the sum with 2^14 has the steps of e4m3's subnormals, 2^-9, and is rounded to them.
[[gnu::always_inline]] inline uint8_t e4m3_of(float value) {
  const auto bits = __builtin_bit_cast(uint32_t, value);
  const uint32_t magnitude = bits & 0x7fffffff, rebiased = magnitude - (120u << 23);
  const uint32_t normal = (rebiased + 0x7ffff + (rebiased >> 20 & 1)) >> 20;
  const uint32_t subnormal =
      __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, magnitude) + 0x1p14f) - __builtin_bit_cast(uint32_t, 0x1p14f);
  uint32_t result = magnitude < (121u << 23) ? subnormal : normal;
  result = magnitude >= __builtin_bit_cast(uint32_t, 448.0f) ? 0x7e : result;
  result = magnitude > 0x7f800000 ? 0x7f : result;
  return static_cast<uint8_t>(result | (bits >> 24 & 0x80));
}
void to_e4m3(const float* source, float factor, uint8_t* target, size_t count) {
  for (size_t i = 0; i < count; ++i) target[i] = e4m3_of(source[i] * factor);
}
[[gnu::target("avx2")]] void to_e4m3_avx2(const float* source, float factor, uint8_t* target, size_t count) {
  for (size_t i = 0; i < count; ++i) target[i] = e4m3_of(source[i] * factor);
}

}  // namespace

size_t size_of(DType dtype) { return info(dtype).bytes; }
std::string_view name(DType dtype) { return info(dtype).name; }
bool is_floating(DType dtype) { return info(dtype).floating; }

uint16_t f32_to_bf16(float value) { return bf16_of(value); }

uint16_t f32_to_f16(float value) {
  const auto bits = __builtin_bit_cast(uint32_t, value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7e00;
  if (magnitude >= 65520.0f) return sign | 0x7c00;
  if (magnitude < 6.103515625e-05f) {  // subnormal: a multiple of 2^-24, ties to even
    return sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(magnitude, 24)));
  }
  const uint32_t rebiased = (bits & 0x7fffffff) - (112u << 23);
  return sign | static_cast<uint16_t>((rebiased + 0xfff + (rebiased >> 13 & 1)) >> 13);
}

uint8_t f32_to_f8_e4m3(float value) { return e4m3_of(value); }

float f16_to_f32(uint16_t bits) {
  // The mantissa and exponent move to their f32 places; the product rebiases the exponent, subnormals included.
  const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7fff) << 13;
  const bool special = (bits & 0x7c00) == 0x7c00;  // infinity or NaN
  const uint32_t value = special ? magnitude | 0x7f800000u
                                 : __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, magnitude) * 0x1p112f);
  return __builtin_bit_cast(float, value | static_cast<uint32_t>(bits & 0x8000) << 16);
}
float f8_e4m3_to_f32(uint8_t bits) { return widen(bits, 4, 3, false); }
float f8_e5m2_to_f32(uint8_t bits) { return widen(bits, 5, 2, true); }

void convert_to_f32(DType dtype, const void* source, float* target, size_t count) {
  if (count == 0 && is_floating(dtype)) return;  // there may be no memory either
  switch (dtype) {
    case DType::f32: std::memcpy(target, source, count * sizeof(float)); return;
    case DType::f64: return convert_each<double>(source, target, count, [](double v) { return static_cast<float>(v); });
    case DType::bf16: return convert_each<uint16_t>(source, target, count, bf16_to_f32);
    case DType::f16: return convert_each<uint16_t>(source, target, count, f16_to_f32);
    case DType::f8_e4m3: return convert_each<uint8_t>(source, target, count, f8_e4m3_to_f32);
    case DType::f8_e5m2: return convert_each<uint8_t>(source, target, count, f8_e5m2_to_f32);
    default: fail(ErrorCode::unsupported, "cannot convert {} to f32: expected a floating type", name(dtype));
  }
}

void multiply_to_f8_e4m3(const float* source, float factor, uint8_t* target, size_t count) {
  (__builtin_cpu_supports("avx2") ? to_e4m3_avx2 : to_e4m3)(source, factor, target, count);
}

void convert_from_f32(const float* source, DType dtype, void* target, size_t count) {
  if (count == 0 && is_floating(dtype)) return;
  auto* half = static_cast<uint16_t*>(target);
  switch (dtype) {
    case DType::f32: std::memcpy(target, source, count * sizeof(float)); return;
    case DType::bf16: return (__builtin_cpu_supports("avx2") ? to_bf16_avx2 : to_bf16)(source, half, count);
    case DType::f16:
      for (size_t i = 0; i < count; ++i) half[i] = f32_to_f16(source[i]);
      return;
    case DType::f8_e4m3:
      return multiply_to_f8_e4m3(source, 1.0f, static_cast<uint8_t*>(target), count);
    default: fail(ErrorCode::unsupported, "cannot convert f32 to {}: expected f32, f16, bf16 or f8_e4m3", name(dtype));
  }
}

}  // namespace fx
