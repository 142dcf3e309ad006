// Uniform numbers to normal ones, as torch's noise kernel for f32 makes them: bit for bit.
#pragma once

#include <cstddef>

namespace fx {

inline constexpr size_t kBoxMullerBlock = 16;  // the first half of a block holds u1, the second u2, from [0, 1)

void box_muller_f32(float* values, size_t blocks);

}  // namespace fx
