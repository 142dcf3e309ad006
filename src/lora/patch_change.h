// What a patch that is not plainly low-rank does to a parameter, as numbers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lora/adapter.h"
#include "lora/delta_rows.h"

namespace fx {

// The rows of a patch's parameter without any adapter, counted from the patch's first: `count` rows from `begin` on to `target`.
// Called by several threads.
using BaseRows = std::function<void(int64_t begin, int64_t count, float* target)>;

// What has to be added to the patch's rows of the parameter at this strength, some rows at a time: (rows, in), row-major, where
// `in` is 1 for a bias or a norm.
//
// strength * (W' - W), with W' = W + scale * D, or its DoRA form; W' - W for a patch that replaces, whatever the strength.
// Computed in double precision; the result depends neither on the number of cores nor on how the rows are divided.
class PatchChange {
 public:
  // Reads all of `base` once where lengths of columns have to be known. `patch` must outlive this. Throws as check_fits.
  PatchChange(const DensePatch& patch, int64_t in, float strength, const BaseRows& base);

  // Rows [begin, begin + count) of the patch to `target`. `base` has the same rows without any adapter; only DoRA and a
  // replacement look at them. `room` is for what is in between, and better used again. Thread-safe.
  void read(int64_t begin, int64_t count, const float* base, float* target, std::vector<double>& room) const;

 private:
  void read_changed(int64_t begin, int64_t count, const float* base, std::vector<double>& values) const;
  void measure_columns(const BaseRows& base);
  void finish_row(int64_t row, const double* changed, const float* base, float* target) const;
  int64_t source(int64_t row) const;

  const DensePatch& patch_;
  int64_t in_;
  double strength_;
  std::unique_ptr<DeltaRows> delta_;
  std::vector<double> column_factors_;  // that bring columns to their lengths
};

// All rows at once, on all cores. Throws as check_fits, and invalid_argument for another number of base values.
std::vector<float> effective_delta(const DensePatch& patch, std::span<const float> base_rows, int64_t in,
                                   float strength);

}  // namespace fx
