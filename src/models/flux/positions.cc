#include "models/flux/positions.h"

#include <array>
#include <cmath>
#include <numeric>

#include "core/error.h"

namespace fx {

void validate(const FluxConfig& config) {
  const int64_t axes = std::accumulate(config.axes_dim.begin(), config.axes_dim.end(), int64_t{0});
  check(config.axes_dim.size() == 3, ErrorCode::unsupported, "axes_dims_rope: expected 3 axes, found {}",
        config.axes_dim.size());
  check(axes == config.head_dim, ErrorCode::unsupported,
        "axes_dims_rope add up to {}, expected the head size {}", axes, config.head_dim);
  for (const int64_t axis : config.axes_dim) {
    check(axis > 0 && axis % 2 == 0, ErrorCode::unsupported, "axes_dims_rope: expected even sizes, found {}", axis);
  }
  for (const int64_t size : {config.in_channels, config.out_channels, config.heads, config.context_dim, config.vec_dim}) {
    check(size > 0, ErrorCode::unsupported, "the transformer's config has a size of {}; expected a positive one", size);
  }
  check(config.double_blocks >= 0 && config.single_blocks >= 0, ErrorCode::unsupported,
        "the transformer's config has a negative number of blocks");
}

std::vector<float> rope_table(const FluxConfig& config, int64_t txt_tokens, int64_t rows, int64_t columns) {
  std::vector<float> table;
  table.reserve((txt_tokens + rows * columns) * config.head_dim);
  const auto append = [&](const std::array<int64_t, 3>& position) {
    for (size_t axis = 0; axis < 3; ++axis) {
      const auto size = static_cast<double>(config.axes_dim[axis]);
      for (int64_t i = 0; i < config.axes_dim[axis] / 2; ++i) {
        const double frequency = 1.0 / std::pow(config.theta, static_cast<double>(2 * i) / size);
        const double angle = static_cast<double>(position[axis]) * frequency;
        table.push_back(static_cast<float>(std::cos(angle)));
        table.push_back(static_cast<float>(std::sin(angle)));
      }
    }
  };
  for (int64_t i = 0; i < txt_tokens; ++i) append({0, 0, 0});
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) append({0, row, column});
  }
  return table;
}

}  // namespace fx
