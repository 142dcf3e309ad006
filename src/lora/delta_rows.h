// The rows of a delta, expanded a few at a time.
#pragma once

#include <cstdint>
#include <memory>

#include "lora/adapter.h"

namespace fx {

class DeltaRows {
 public:
  virtual ~DeltaRows() = default;
  // Rows [begin, begin + count) of D at scale 1, (count, columns), to `target`. Thread-safe.
  virtual void read(int64_t begin, int64_t count, double* target) const = 0;
};

// `delta` must outlive the result, and its factors fit each other (shape_of). `column` says that a row of values, as files
// have a bias, is meant as a column.
std::unique_ptr<DeltaRows> make_delta_rows(const Delta& delta, bool column);

}  // namespace fx
