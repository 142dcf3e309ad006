// How far numbers are from what they should be.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>

namespace fx::test {

struct Difference {
  double max_abs = 0;        // infinity if a value is missing (NaN where a number should be, or the other way round)
  double squares = 0;        // sum of squared differences
  double truth_squares = 0;  // sum of squared true values
  int64_t compared = 0;      // how many values
  int64_t worst = -1;        // index of max_abs
  float actual_at_worst = 0, truth_at_worst = 0;

  // Normalised mean squared error; relative to the truth.
  double nmse() const { return truth_squares > 0 ? squares / truth_squares : squares; }
  std::string describe() const {
    return fmt::format("max |error| {:.3e} at [{}]: {} instead of {}; nmse {:.3e}", max_abs, worst, actual_at_worst,
                       truth_at_worst, nmse());
  }
};

// Adds the differences of two equally long ranges. NaN in both counts as equal.
inline void compare(std::span<const float> actual, std::span<const float> truth, Difference& d) {
  for (size_t i = 0; i < truth.size(); ++i) {
    const double a = actual[i], t = truth[i];
    if (std::isnan(a) && std::isnan(t)) continue;
    ++d.compared;
    const double error = a == t ? 0.0 : std::abs(a - t);
    const double size = std::isnan(error) ? INFINITY : error;
    d.squares += size * size;
    if (std::isfinite(t)) d.truth_squares += t * t;
    if (d.worst >= 0 && size <= d.max_abs) continue;
    d.max_abs = size;
    d.worst = static_cast<int64_t>(i);
    d.actual_at_worst = actual[i];
    d.truth_at_worst = truth[i];
  }
}

inline Difference compare(std::span<const float> actual, std::span<const float> truth) {
  Difference d;
  compare(actual, truth, d);
  return d;
}

}  // namespace fx::test
