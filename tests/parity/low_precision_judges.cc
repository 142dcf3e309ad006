// How rows in e4m3 are judged.
#include <algorithm>
#include <cmath>

#include "parity/low_precision_cases.h"

namespace fx::test {
namespace {

std::string wrong_scale(const WrittenRows& found, int64_t row, const float* x, double tolerance) {
  const std::span<const float> values(x, static_cast<size_t>(found.columns));
  const double right = scale_of_row(values), scale = found.scales[row];
  if (scale == right) return "";
  // Where the largest is 448 times a power of two, its last bits decide.
  const float largest = largest_of_row(values);
  for (const double share : {1 - tolerance, 1 + tolerance}) {
    const auto near = static_cast<float>(largest * share);
    if (scale == scale_of_row({&near, 1})) return "";
  }
  return fmt::format("row {}: scale {} instead of {}", row, scale, right);
}

}  // namespace

double relative_error(const Operands::Owned& run, const Operands::Owned& truth) {
  const std::vector<float> found = run.values(), right = truth.values();
  double squares = 0, all = 0;
  for (size_t i = 0; i < right.size(); ++i) {
    const double error = static_cast<double>(found[i]) - right[i];
    squares += error * error;
    all += static_cast<double>(right[i]) * right[i];
  }
  return std::sqrt(squares / all);
}

WrittenRows::WrittenRows(const Operands& run, const std::string& name)
    : values(run.owned(name).buffer.tensor().data<uint8_t>()),
      scales(run.owned(name + "_scale").buffer.tensor().f32()),
      rows(run.owned(name + "_scale").buffer.tensor().count()),
      columns(run.owned(name).buffer.tensor().size(-1)) {}

std::string wrong_bits(const WrittenRows& found, int64_t row, const float* x) {
  const std::string scale = wrong_scale(found, row, x, 1e-6);
  if (!scale.empty()) return scale;
  for (int64_t c = 0; c < found.columns; ++c) {
    const uint8_t q = found.values[row * found.columns + c];
    if (is_nearest(x[c], found.scales[row], q)) continue;
    return fmt::format("[{}, {}]: {} in e4m3 instead of {}", row, c, f8_e4m3_to_f32(q), x[c] / found.scales[row]);
  }
  return "";
}

std::string wrong_values(const WrittenRows& found, int64_t row, const float* x, double slack) {
  const std::string scale = wrong_scale(found, row, x, 1e-2);
  if (!scale.empty()) return scale;
  for (int64_t c = 0; c < found.columns; ++c) {
    const double half_step = std::max<double>(std::abs(x[c]) * 0x1p-4, found.scales[row] * 0x1p-10);
    const double value = found.value(row, c);
    if (std::abs(value - x[c]) <= 1.05 * half_step + slack) continue;  // false for NaN
    return fmt::format("[{}, {}]: {} instead of {}", row, c, value, x[c]);
  }
  return "";
}

}  // namespace fx::test
