// A picture that is decoded in overlapping tiles, where the whole would take too much memory: which tiles, and how much
// each counts for a pixel. Pure arithmetic.
#pragma once

#include <cstdint>
#include <vector>

namespace fx {

struct Tile {
  int64_t begin = 0, size = 0;
  bool operator==(const Tile&) const = default;
};

// Tiles of at most `largest`, of one size and about evenly spread, that cover [0, length) and overlap by `overlap` at least.
// One tile where the whole fits.
std::vector<Tile> tiles_of(int64_t length, int64_t largest, int64_t overlap);

// How much pixel `i` of the tile counts beside those of its neighbours: falls in a straight line towards a border at which
// another tile goes on, over `overlap` pixels, and is never 0.
float tile_weight(const Tile& tile, int64_t i, int64_t length, int64_t overlap);

}  // namespace fx
