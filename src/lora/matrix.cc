#include "lora/matrix.h"

#include <cstring>

#include "core/error.h"

namespace fx {

Matrix::Matrix(int64_t rows, int64_t columns, DType dtype, std::span<const std::byte> bytes)
    : rows_(rows), columns_(columns), dtype_(dtype) {
  check(rows > 0 && columns > 0 && bytes.size() == this->bytes(), ErrorCode::internal,
        "a matrix of {} x {} {} was given {} bytes", rows, columns, name(dtype), bytes.size());
  auto copy = std::make_shared_for_overwrite<std::byte[]>(bytes.size());
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  bytes_ = std::move(copy);
}

Matrix::Matrix(int64_t rows, int64_t columns, DType dtype, std::shared_ptr<const std::byte[]> bytes)
    : rows_(rows), columns_(columns), dtype_(dtype), bytes_(std::move(bytes)) {}

Matrix Matrix::of(int64_t rows, int64_t columns, std::span<const float> values) {
  return {rows, columns, DType::f32, std::as_bytes(values)};
}

void Matrix::read_rows(int64_t begin, int64_t count, float* target) const {
  convert_to_f32(dtype_, row(begin), target, static_cast<size_t>(count * columns_));
}

std::vector<float> Matrix::values() const {
  std::vector<float> result(static_cast<size_t>(rows_ * columns_));
  if (!empty()) read_rows(0, rows_, result.data());
  return result;
}

Matrix Matrix::in_f32() const {
  if (dtype_ == DType::f32 || empty()) return *this;
  auto copy = std::make_shared_for_overwrite<std::byte[]>(static_cast<size_t>(rows_ * columns_) * sizeof(float));
  read_rows(0, rows_, reinterpret_cast<float*>(copy.get()));
  return {rows_, columns_, DType::f32, std::move(copy)};
}

Matrix Matrix::with_halves_exchanged() const {
  check(rows_ % 2 == 0, ErrorCode::internal, "{} rows have no two halves", rows_);
  const size_t half = bytes() / 2;
  auto copy = std::make_shared_for_overwrite<std::byte[]>(bytes());
  std::memcpy(copy.get(), bytes_.get() + half, half);
  std::memcpy(copy.get() + half, bytes_.get(), half);
  return {rows_, columns_, dtype_, std::move(copy)};
}

Matrix Matrix::above(const Matrix& below) const {
  check(columns_ == below.columns_ && dtype_ == below.dtype_, ErrorCode::internal,
        "matrices of {} and {} columns cannot be stacked", columns_, below.columns_);
  auto copy = std::make_shared_for_overwrite<std::byte[]>(bytes() + below.bytes());
  std::memcpy(copy.get(), bytes_.get(), bytes());
  std::memcpy(copy.get() + bytes(), below.bytes_.get(), below.bytes());
  return {rows_ + below.rows_, columns_, dtype_, std::move(copy)};
}

bool Matrix::same_bytes(const Matrix& other) const {
  return rows_ == other.rows_ && columns_ == other.columns_ && dtype_ == other.dtype_ &&
         std::memcmp(bytes_.get(), other.bytes_.get(), bytes()) == 0;
}

Matrix Matrix::with_columns(int64_t columns) const {
  check(columns >= columns_, ErrorCode::internal, "{} columns do not fit {}", columns_, columns);
  const size_t element = size_of(dtype_), length = element * static_cast<size_t>(columns_);
  std::shared_ptr<std::byte[]> copy(new std::byte[static_cast<size_t>(rows_ * columns) * element]());
  for (int64_t i = 0; i < rows_; ++i) {
    std::memcpy(copy.get() + static_cast<size_t>(i * columns) * element, row(i), length);
  }
  return {rows_, columns, dtype_, std::move(copy)};
}

}  // namespace fx
