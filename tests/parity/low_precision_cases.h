// What cases in e4m3 judge by, and those that a test asks for by name.
#pragma once

#include <string>
#include <vector>

#include "parity/op_case.h"

namespace fx::test {

// Queries, keys, values and weights in e4m3: 2 heads, 256 tokens, heads of 128.
OpCase e4m3_attention_case();

// |run - truth| / |truth|.
double relative_error(const Operands::Owned& run, const Operands::Owned& truth);

// Rows in e4m3 that were written with their scales `name`_scale.
struct WrittenRows {
  const uint8_t* values;
  const float* scales;
  int64_t rows, columns;

  WrittenRows(const Operands& run, const std::string& name);
  double value(int64_t row, int64_t column) const {
    return static_cast<double>(f8_e4m3_to_f32(values[row * columns + column])) * scales[row];
  }
};

// What is wrong with row `row`, which should be x in e4m3, to the bit.
std::string wrong_bits(const WrittenRows& found, int64_t row, const float* x);
// The same where x may be `slack` away from what was quantised: half a step of e4m3 and the slack.
std::string wrong_values(const WrittenRows& found, int64_t row, const float* x, double slack);

}  // namespace fx::test
