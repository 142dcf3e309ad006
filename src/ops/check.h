// Shape checks shared by the public methods of Ops. Messages carry the operation and the operand:
// "[ln_modulate] y: expected (1, 77, 64) f32, got (1, 77, 32) f32".
#pragma once

#include <string_view>

#include "core/error.h"
#include "core/tensor.h"

namespace fx {

class OpCheck {
 public:
  explicit OpCheck(std::string_view op) : op_(op) {}

  void tensor(std::string_view operand, const Tensor& actual, const Shape& expected, DType dtype = DType::f32) const {
    if (actual.defined() && actual.dtype() == dtype && actual.shape() == expected) return;
    fail(ErrorCode::invalid_argument, "[{}] {}: expected {} {}, got {}", op_, operand, to_string(expected),
         name(dtype), describe(actual));
  }
  void optional(std::string_view operand, const Tensor& actual, const Shape& expected) const {
    if (actual.defined()) tensor(operand, actual, expected);
  }
  void rank(std::string_view operand, const Tensor& actual, int expected, DType dtype = DType::f32) const {
    if (actual.defined() && actual.dtype() == dtype && actual.rank() == expected) return;
    fail(ErrorCode::invalid_argument, "[{}] {}: expected a tensor of {} axes of {}, got {}", op_, operand, expected,
         name(dtype), describe(actual));
  }
  void dense_rows(std::string_view operand, const Tensor& actual) const {
    if (actual.size(-1) <= 1 || actual.stride(-1) == 1) return;
    fail(ErrorCode::invalid_argument, "[{}] {}: expected a dense last axis, got stride {}", op_, operand,
         actual.stride(-1));
  }
  // Parameters and tables are read as one block.
  void dense(std::string_view operand, const Tensor& actual) const {
    if (!actual.defined() || actual.contiguous()) return;
    fail(ErrorCode::invalid_argument, "[{}] {}: expected contiguous memory, got {}", op_, operand, describe(actual));
  }
  void that(bool condition, std::string_view expectation) const {
    if (!condition) fail(ErrorCode::invalid_argument, "[{}] expected {}", op_, expectation);
  }

 private:
  std::string_view op_;
};

}  // namespace fx
