// Rows in e4m3 on the host, written apart from the back-ends: value = e4m3 * scale, and scale is a power of two with which the
// largest magnitude lies between 224 and 448.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "core/dtype.h"

namespace fx::test {

inline float largest_of_row(std::span<const float> row) {
  float largest = 0;
  for (const float x : row) largest = std::max(largest, std::abs(x));
  return largest;
}

inline float scale_of_row(std::span<const float> row, float most = 448.0f) {
  const float largest = largest_of_row(row);
  return largest > 0 ? std::exp2(std::ceil(std::log2(largest / most))) : 1.0f;
}

struct QuantizedRows {
  std::vector<uint8_t> values;
  std::vector<float> scales;

  QuantizedRows(std::span<const float> x, size_t columns, float largest = 448.0f) : values(x.size()) {
    for (size_t at = 0; at < x.size(); at += columns) {
      scales.push_back(scale_of_row(x.subspan(at, columns), largest));
      for (size_t c = at; c < at + columns; ++c) values[c] = f32_to_f8_e4m3(x[c] / scales.back());
    }
  }
  std::vector<float> widened() const {
    const size_t columns = scales.empty() ? 1 : values.size() / scales.size();
    std::vector<float> x(values.size());
    for (size_t i = 0; i < x.size(); ++i) x[i] = f8_e4m3_to_f32(values[i]) * scales[i / columns];
    return x;
  }
};

// How far `scaled` is from the middle between its two neighbours in e4m3, as a share of itself.
inline double distance_from_tie(double scaled) {
  const double magnitude = std::abs(scaled);
  const double step = std::ldexp(1.0, std::max(std::ilogb(std::max(magnitude, 1e-30)), -6) - 3);
  const double steps = magnitude / step;
  return std::abs(steps - std::floor(steps) - 0.5) * step / std::max(magnitude, 1e-30);
}

// Whether q is what x becomes at this scale. On a tie the last bit of the scale decides, so either neighbour will do.
inline bool is_nearest(double x, double scale, uint8_t q) {
  const auto nearest = [&](double scaled) { return f8_e4m3_to_f32(f32_to_f8_e4m3(static_cast<float>(scaled))); };
  const double scaled = x / scale, found = f8_e4m3_to_f32(q);
  return found == nearest(scaled) || found == nearest(scaled * (1 - 1e-6)) || found == nearest(scaled * (1 + 1e-6));
}

// Moves values of bf16 that are ties when their row is quantised to the next smaller one, so that every correct
// implementation finds the same bits. The largest of a row is never a tie.
inline void avoid_ties(std::span<float> x, size_t columns) {
  for (size_t at = 0; at < x.size(); at += columns) {
    const double scale = static_cast<double>(scale_of_row(x.subspan(at, columns)));
    for (size_t c = at; c < at + columns; ++c) {
      while (x[c] != 0 && distance_from_tie(x[c] / scale) < 1e-5) {
        x[c] = bf16_to_f32(static_cast<uint16_t>(f32_to_bf16(x[c]) - 1));
      }
    }
  }
}

// Rounds values to what e4m3 holds at a scale of 2^-7 for each row: quantising such rows changes nothing.
inline void snap_to_e4m3(std::span<float> x, size_t columns) {
  for (size_t i = 0; i < x.size(); ++i) {
    const float scaled = i % columns == 0 ? std::copysign(448.0f, x[i]) : x[i] * 0x1p7f;
    x[i] = f8_e4m3_to_f32(f32_to_f8_e4m3(scaled)) * 0x1p-7f;
  }
}

}  // namespace fx::test
