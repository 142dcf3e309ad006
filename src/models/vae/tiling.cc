#include "models/vae/tiling.h"

#include <algorithm>

namespace fx {

std::vector<Tile> tiles_of(int64_t length, int64_t largest, int64_t overlap) {
  if (length <= largest) return {{0, length}};
  const int64_t step = std::max<int64_t>(largest - overlap, 1);
  const int64_t count = (length - largest + step - 1) / step + 1;
  std::vector<Tile> tiles;
  for (int64_t i = 0; i < count; ++i) tiles.push_back({(length - largest) * i / (count - 1), largest});
  return tiles;
}

float tile_weight(const Tile& tile, int64_t i, int64_t length, int64_t overlap) {
  const auto ramp = [&](int64_t distance) {
    return std::min(1.0f, (static_cast<float>(distance) + 0.5f) / static_cast<float>(std::max<int64_t>(overlap, 1)));
  };
  float weight = 1.0f;
  if (tile.begin > 0) weight = std::min(weight, ramp(i));
  if (tile.begin + tile.size < length) weight = std::min(weight, ramp(tile.size - 1 - i));
  return weight;
}

}  // namespace fx
