#include "models/vae/tiling.h"

#include <gtest/gtest.h>

namespace fx::test {
namespace {

TEST(Tiling, OneTileWhereTheWholeFits) {
  EXPECT_EQ(tiles_of(128, 128, 16), (std::vector<Tile>{{0, 128}}));
  EXPECT_EQ(tiles_of(40, 128, 16), (std::vector<Tile>{{0, 40}}));
}

TEST(Tiling, TilesCoverEverythingAndOverlap) {
  for (const int64_t length : {129, 160, 200, 256, 512, 1000}) {
    const auto tiles = tiles_of(length, 128, 16);
    EXPECT_EQ(tiles.front().begin, 0);
    EXPECT_EQ(tiles.back().begin + tiles.back().size, length);
    for (size_t i = 0; i < tiles.size(); ++i) {
      EXPECT_EQ(tiles[i].size, 128);
      if (i > 0) { EXPECT_GE(tiles[i - 1].begin + 128 - tiles[i].begin, 16) << length; }
    }
  }
}

TEST(Tiling, WeightsFallTowardsNeighboursOnly) {
  const Tile first{0, 128}, last{72, 128};
  EXPECT_EQ(tile_weight(first, 0, 200, 16), 1.0f);
  EXPECT_EQ(tile_weight(last, 127, 200, 16), 1.0f);
  EXPECT_LT(tile_weight(first, 127, 200, 16), 0.05f);
  EXPECT_LT(tile_weight(last, 0, 200, 16), 0.05f);
  EXPECT_GT(tile_weight(last, 0, 200, 16), 0.0f);
  for (int64_t i = 1; i < 128; ++i) EXPECT_GE(tile_weight(last, i, 200, 16), tile_weight(last, i - 1, 200, 16));
}

}  // namespace
}  // namespace fx::test
