// A small bitmap font for labels: printable ASCII, 5 x 9 pixels a letter, 7 of them above the base line.
#pragma once

#include <cstdint>
#include <string_view>

namespace fx::cli {

inline constexpr int kGlyphWidth = 5, kGlyphHeight = 9;
inline constexpr int kGlyphAdvance = 6, kLineAdvance = 11;  // to the next letter, to the next line

// Is the pixel set? x from 0 to 4, y from 0 (top) to 8. Letters beyond ASCII look like a box.
bool glyph_pixel(char letter, int x, int y);

}  // namespace fx::cli
