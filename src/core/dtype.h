// Storage types that a file or a tensor can hold, and host conversions between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace fx {

enum class DType : uint8_t { f64, f32, f16, bf16, f8_e4m3, f8_e5m2, i64, i32, i16, i8, u64, u32, u16, u8, boolean };

// Bytes of one element.
size_t size_of(DType dtype);

// "f32", "bf16", ...: our own spelling, for messages.
std::string_view name(DType dtype);

bool is_floating(DType dtype);

// Rounds to nearest, ties to even; keeps infinities; NaN stays NaN.
uint16_t f32_to_bf16(float value);
uint16_t f32_to_f16(float value);
// As above, but e4m3 has no infinities: beyond 448 becomes 448.
uint8_t f32_to_f8_e4m3(float value);
float f16_to_f32(uint16_t bits);
float f8_e4m3_to_f32(uint8_t bits);
float f8_e5m2_to_f32(uint8_t bits);
inline float bf16_to_f32(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  return __builtin_bit_cast(float, wide);
}

// Converts `count` elements of a floating type at `source` (any alignment) to f32 at `target`. Exact for all but f64.
void convert_to_f32(DType dtype, const void* source, float* target, size_t count);

// Converts f32 to f32, f16, bf16 or f8_e4m3 as the functions above do.
void convert_from_f32(const float* source, DType dtype, void* target, size_t count);

// target = f32_to_f8_e4m3(source * factor).
void multiply_to_f8_e4m3(const float* source, float factor, uint8_t* target, size_t count);

}  // namespace fx
