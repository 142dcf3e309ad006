// What a patch that is not plainly low-rank does to a parameter, as numbers.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

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

// What has to be added to the patch's rows of the parameter at this strength: (rows, in), row-major, where `in` is 1 for
// a bias or a norm. `base_rows` (rows, in) are these rows without any adapter; only DoRA and a replacement look at them.
//
// strength * (W' - W), with W' = W + scale * D, or its DoRA form; W' - W for a patch that replaces, whatever the strength.
// Computed in double precision, on all cores; the result does not depend on their number. Throws as check_fits,
// and invalid_argument for another number of base values.
std::vector<float> effective_delta(const DensePatch& patch, std::span<const float> base_rows, int64_t in,
                                   float strength);

// The same without room for all of it: calls take(row, values) for each of the patch's rows, counted from 0, with its `in`
// values. In any order, and from several threads.
using TakeRow = std::function<void(int64_t row, const float* values)>;
void each_delta_row(const DensePatch& patch, std::span<const float> base_rows, int64_t in, float strength,
                    const TakeRow& take);

}  // namespace fx
