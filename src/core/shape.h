// A small fixed-capacity list of dimensions.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace fx {

inline constexpr int kMaxRank = 5;

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  // Throws invalid_argument for more than kMaxRank dimensions or a negative one.
  explicit Shape(std::span<const int64_t> dims);

  int rank() const { return rank_; }
  // Negative axes count from the back.
  int64_t operator[](int axis) const { return dims_[axis < 0 ? axis + rank_ : axis]; }
  int64_t& operator[](int axis) { return dims_[axis < 0 ? axis + rank_ : axis]; }
  std::span<const int64_t> dims() const { return {dims_.data(), static_cast<size_t>(rank_)}; }
  // Product of all dimensions; 1 for a scalar. Throws invalid_argument when it does not fit 63 bits.
  int64_t count() const;
  bool operator==(const Shape& other) const;

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

std::string to_string(const Shape& shape);  // "(1, 77, 768)"

}  // namespace fx
