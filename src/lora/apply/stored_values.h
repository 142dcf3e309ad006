// The values of a parameter in main memory as the model keeps them: in the type of its base, and with the scales of its rows
// where that is e4m3. A quarter of what f32 would take, then.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/large_memory.h"
#include "nn/params.h"

namespace fx {

class StoredValues {
 public:
  StoredValues() = default;
  // Room for those of this parameter, whose contents are undefined.
  explicit StoredValues(const Param& param);

  // What the parameter has in device memory. Not in the order of the device's work: another thread may be making a picture.
  static StoredValues fetched(Runtime& runtime, const Param& param);
  // Main memory that those of a parameter take.
  static size_t bytes_of(const Param& param);

  size_t bytes() const { return size_ + scales_.size() * sizeof(float); }
  size_t row_bytes() const { return row_bytes_; }
  bool quantised() const { return !scales_.empty(); }
  std::span<const std::byte> rows(int64_t begin, int64_t count) const;
  // Of these rows; empty where values have none.
  std::span<const float> scales(int64_t begin, int64_t count) const;

  // `count` rows of f32 values from `begin` on, rounded; several threads may write different rows.
  void write(int64_t begin, int64_t count, const float* values);
  // The same back. Not of quantised ones.
  void read(int64_t begin, int64_t count, float* values) const;

 private:
  void fetch_apart(Runtime& runtime, const Tensor& kept);
  size_t offset(int64_t row) const { return static_cast<size_t>(row) * row_bytes_; }

  DType dtype_ = DType::f32;
  float largest_ = 0;  // Param::largest
  int64_t in_ = 1;
  size_t row_bytes_ = 0, size_ = 0;
  LargeMemory values_;         // (rows, in)
  std::vector<float> scales_;  // (rows), of e4m3
};

}  // namespace fx
