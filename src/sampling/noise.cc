// Three ways to a normal number, as torch takes them: below 16 values one at a time in double precision; from 16 values
// on by Box-Muller on blocks of 16, in f32 with polynomial logarithm and sine, or in bf16 with every intermediate
// rounded.
#include "sampling/noise.h"

#include <cmath>
#include <numbers>
#include <random>

#include "core/dtype.h"
#include "sampling/box_muller.h"

namespace fx {
namespace {

constexpr size_t kBlock = kBoxMullerBlock;

float round_bf16(float value) { return bf16_to_f32(f32_to_bf16(value)); }

// Uniform in [0, 1) from the low `bits` bits of one draw, all that the mantissa holds: 24 for f32, 8 for bf16.
float uniform(std::mt19937& engine, int bits) {
  const auto mask = (1u << bits) - 1;
  return static_cast<float>(engine() & mask) / static_cast<float>(1u << bits);
}

double uniform_double(std::mt19937& engine) {
  const uint64_t high = engine(), low = engine();
  return static_cast<double>((high << 32 | low) & ((1ull << 53) - 1)) * 0x1p-53;
}

// The "+ 0.0f" is torch's addition of the mean; it turns -0 into +0.
void box_muller_bf16(float* block) {
  for (size_t i = 0; i < kBlock / 2; ++i) {
    const float u1 = round_bf16(1.0f - block[i]);
    const float u2 = block[i + kBlock / 2];
    const float radius = round_bf16(std::sqrt(round_bf16(-2.0f * round_bf16(std::log(u1)))));
    const float theta = round_bf16(static_cast<float>(2 * std::numbers::pi * static_cast<double>(u2)));
    block[i] = round_bf16(radius * round_bf16(std::cos(theta))) + 0.0f;
    block[i + kBlock / 2] = round_bf16(radius * round_bf16(std::sin(theta))) + 0.0f;
  }
}

void draw_blocks(std::mt19937& engine, NoiseType type, std::span<float> out) {
  const int bits = type == NoiseType::f32 ? 24 : 8;
  const auto box_muller = [type](float* values, size_t blocks) {
    if (type == NoiseType::f32) return box_muller_f32(values, blocks);
    for (size_t i = 0; i < blocks; ++i) box_muller_bf16(values + i * kBlock);
  };
  for (float& value : out) value = uniform(engine, bits);
  box_muller(out.data(), out.size() / kBlock);
  if (out.size() % kBlock == 0) return;
  float* last = out.data() + out.size() - kBlock;  // overlaps the last full block, which is drawn anew from here on
  for (size_t i = 0; i < kBlock; ++i) last[i] = uniform(engine, bits);
  box_muller(last, 1);
}

void draw_few(std::mt19937& engine, NoiseType type, std::span<float> out) {
  double cached = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    double value = cached;
    if (i % 2 == 0) {
      const double theta = 2 * std::numbers::pi * uniform_double(engine);
      const double radius = std::sqrt(-2.0 * std::log1p(-uniform_double(engine)));
      value = radius * std::cos(theta);
      cached = radius * std::sin(theta);
    }
    out[i] = static_cast<float>(value);
    if (type == NoiseType::bf16) out[i] = round_bf16(out[i]);
  }
}

}  // namespace

void draw_noise(uint64_t seed, NoiseType type, std::span<float> out) {
  std::mt19937 engine(static_cast<uint32_t>(seed));
  if (out.size() < kBlock) return draw_few(engine, type, out);
  draw_blocks(engine, type, out);
}

}  // namespace fx
