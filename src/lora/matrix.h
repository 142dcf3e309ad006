// A matrix of an adapter file, kept as the file has it: half the memory of f32, and nothing is converted before it is
// needed. Copies share the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/dtype.h"

namespace fx {

class Matrix {
 public:
  Matrix() = default;
  // `bytes` holds rows x columns values, row-major, of a floating dtype; they are copied.
  Matrix(int64_t rows, int64_t columns, DType dtype, std::span<const std::byte> bytes);
  // Keeps `bytes` instead of copying them; they may still be filled.
  Matrix(int64_t rows, int64_t columns, DType dtype, std::shared_ptr<const std::byte[]> bytes);
  static Matrix of(int64_t rows, int64_t columns, std::span<const float> values);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  DType dtype() const { return dtype_; }
  bool empty() const { return rows_ == 0; }
  uint64_t bytes() const { return size_of(dtype_) * static_cast<uint64_t>(rows_ * columns_); }

  // `count` rows from `begin` on, as f32, row-major, to `target`.
  void read_rows(int64_t begin, int64_t count, float* target) const;
  std::vector<float> values() const;

  // The same values in f32.
  Matrix in_f32() const;
  // The first and the second half of the rows in the other order. Needs an even number of rows.
  Matrix with_halves_exchanged() const;
  // The rows of `below` follow. Columns and dtypes agree.
  Matrix above(const Matrix& below) const;
  bool same_bytes(const Matrix& other) const;
  // Zeros to the right of each row. `columns` is not less than there are.
  Matrix with_columns(int64_t columns) const;

 private:
  const std::byte* row(int64_t index) const {
    return bytes_.get() + static_cast<size_t>(index * columns_) * size_of(dtype_);
  }

  int64_t rows_ = 0, columns_ = 0;
  DType dtype_ = DType::f32;
  std::shared_ptr<const std::byte[]> bytes_;
};

}  // namespace fx
