// Rows in e4m3 with a scale each, on the host; bit for bit what devices make of the same numbers (Ops::quantize_rows).
#pragma once

#include <cstdint>

namespace fx {

// y = x / scale in e4m3 and returns the scale: the least power of two that brings the largest magnitude to `most` or
// below, 1 for a row of zeros. NaN stays NaN and has no part in the scale.
float quantize_row(const float* x, int64_t count, uint8_t* y, float most = 448.0f);

}  // namespace fx
