// Rotary position tables over (text, row, column).
#pragma once

#include <vector>

#include "models/flux/config.h"

namespace fx {

// (txt_tokens + rows * columns, head_dim / 2, 2): cosine and sine of position * theta^(-2i / axis size), computed in
// double precision. Text tokens are at position (0, 0, 0), image tokens at (0, row, column), row-major.
// Source: EmbedND and rope in black-forest-labs/flux, src/flux/math.py.
std::vector<float> rope_table(const FluxConfig& config, int64_t txt_tokens, int64_t rows, int64_t columns);

}  // namespace fx
