// The sizes of differences that are not plainly low-rank.
#pragma once

#include <cstdint>
#include <optional>

#include "lora/adapter.h"

namespace fx {

struct DeltaShape {
  int64_t rows = 0, columns = 0;
  bool operator==(const DeltaShape&) const = default;
};

// The size of the difference that a delta describes. Nothing when its factors do not fit each other.
std::optional<DeltaShape> shape_of(const Delta& delta);

// A low-rank patch as a change of the layer's weight; the matrices are shared.
DensePatch as_dense(const Patch& patch);

// Throws invalid_argument unless delta, magnitude and rows fit each other and a parameter with `in` values a row.
void check_fits(const DensePatch& patch, int64_t in);

}  // namespace fx
