// Shape checks shared by the public methods of Ops. Messages carry the operation and the operand:
// "[ln_modulate] y: expected (1, 77, 64) f32, got (1, 77, 32) f32".
#pragma once

#include <string>
#include <string_view>

#include "core/error.h"
#include "ops/ops.h"

namespace fx {

class OpCheck {
 public:
  OpCheck(std::string_view op, const Ops& ops) : op_(op), ops_(ops) {}

  // Whether a tensor of values may have this type: f32, or bf16 where the back-end computes in it.
  bool takes(DType dtype) const { return dtype == DType::f32 || (dtype == DType::bf16 && ops_.computes_in(dtype)); }
  // f32 or bf16, of this shape.
  void values(std::string_view operand, const Tensor& actual, const Shape& expected) const {
    tensor(operand, actual, expected, allowed(actual));
  }
  void optional_values(std::string_view operand, const Tensor& actual, const Shape& expected) const {
    if (actual.defined()) values(operand, actual, expected);
  }
  void values_rank(std::string_view operand, const Tensor& actual, int expected) const {
    rank(operand, actual, expected, allowed(actual));
  }
  // Of the type that another operand has.
  void like(std::string_view operand, const Tensor& actual, const Shape& expected, const Tensor& other) const {
    tensor(operand, actual, expected, other.dtype());
  }
  // Values, or e4m3 with one scale for each row; (rows..., columns).
  void scaled(std::string_view operand, const Tensor& actual, const Shape& expected, const Tensor& scale) const {
    if (!actual.defined() || actual.dtype() != DType::f8_e4m3 || !ops_.computes_in(DType::f8_e4m3)) {
      that(!scale.defined(), "scales with values of f8_e4m3 only");
      return values(operand, actual, expected);
    }
    tensor(operand, actual, expected, DType::f8_e4m3);
    const auto dims = expected.dims();
    tensor(std::string(operand) + "_scale", scale, Shape(dims.first(dims.size() - 1)));
    dense_rows("scale", scale);
  }

  void tensor(std::string_view operand, const Tensor& actual, const Shape& expected, DType dtype = DType::f32) const {
    if (actual.defined() && actual.dtype() == dtype && actual.shape() == expected) return;
    fail(ErrorCode::invalid_argument, "[{}] {}: expected {} {}, got {}", op_, operand, to_string(expected),
         name(dtype), describe(actual));
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
  DType allowed(const Tensor& actual) const {
    return actual.defined() && takes(actual.dtype()) ? actual.dtype() : DType::f32;
  }

  std::string_view op_;
  const Ops& ops_;
};

}  // namespace fx
