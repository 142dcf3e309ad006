#include "core/shape.h"

#include <algorithm>

#include "core/error.h"

namespace fx {

Shape::Shape(std::span<const int64_t> dims) {
  check(dims.size() <= kMaxRank, ErrorCode::invalid_argument, "a shape has at most {} dimensions, found {}", kMaxRank,
        dims.size());
  for (const int64_t dim : dims) {
    check(dim >= 0, ErrorCode::invalid_argument, "a dimension must not be negative, found {}", dim);
    dims_[rank_++] = dim;
  }
}

int64_t Shape::count() const {
  int64_t product = 1;
  for (const int64_t dim : dims()) {
    check(!__builtin_mul_overflow(product, dim, &product), ErrorCode::invalid_argument,
          "the element count of shape {} does not fit 63 bits", to_string(*this));
  }
  return product;
}

bool Shape::operator==(const Shape& other) const { return std::ranges::equal(dims(), other.dims()); }

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (int i = 0; i < shape.rank(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + ")";
}

}  // namespace fx
