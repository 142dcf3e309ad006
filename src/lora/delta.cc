#include "lora/delta.h"

#include "core/error.h"

namespace fx {
namespace {

struct ShapeOf {
  using Found = std::optional<DeltaShape>;
  Found operator()(const Matrix& matrix) const { return DeltaShape{matrix.rows(), matrix.columns()}; }
  Found operator()(const LowRank& pair) const {
    if (pair.b.columns() != pair.a.rows()) return std::nullopt;
    return DeltaShape{pair.b.rows(), pair.a.columns()};
  }
  Found operator()(const HadamardDelta& delta) const {
    const Found first = (*this)(delta.first);
    return first == (*this)(delta.second) ? first : std::nullopt;
  }
  Found operator()(const KroneckerDelta& delta) const {
    const Found w1 = std::visit(*this, delta.w1), w2 = std::visit(*this, delta.w2);
    if (!w1 || !w2) return std::nullopt;
    return DeltaShape{w1->rows * w2->rows, w1->columns * w2->columns};
  }
  Found operator()(const FullDelta& delta) const { return (*this)(delta.values); }
};

}  // namespace

std::optional<DeltaShape> shape_of(const Delta& delta) { return std::visit(ShapeOf{}, delta); }

DensePatch as_dense(const Patch& patch) {
  return {.component = patch.component,
          .parameter = patch.module + ".weight",
          .rows = patch.rows,
          .delta = LowRank{patch.a, patch.b},
          .scale = patch.scale,
          .kind = "low-rank"};
}

void check_fits(const DensePatch& patch, int64_t in) {
  const int64_t rows = patch.rows.count;
  const auto shape = shape_of(patch.delta);
  const bool a_row = in == 1 && shape == DeltaShape{1, rows} && std::holds_alternative<FullDelta>(patch.delta);
  check(shape && (shape == DeltaShape{rows, in} || a_row), ErrorCode::invalid_argument,
        "{}: expected a difference of {} x {}, found {} x {}", patch.parameter, rows, in, shape ? shape->rows : 0,
        shape ? shape->columns : 0);
  check(!patch.exchange_halves || rows % 2 == 0, ErrorCode::invalid_argument, "{}: {} rows have no two halves",
        patch.parameter, rows);
  if (patch.magnitude) {
    const int64_t lengths = patch.magnitude->per_column ? in : rows;
    check(static_cast<int64_t>(patch.magnitude->values.size()) == lengths, ErrorCode::invalid_argument,
          "{}: expected {} magnitudes, found {}", patch.parameter, lengths, patch.magnitude->values.size());
  }
}

}  // namespace fx
