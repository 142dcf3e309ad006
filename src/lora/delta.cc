#include "lora/delta.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "core/error.h"
#include "core/parallel.h"
#include "lora/delta_rows.h"

namespace fx {
namespace {

constexpr int64_t kBlockRows = 32;
constexpr int64_t kWorthThreads = 1 << 16;  // values; starting a thread takes as long as computing some thousands

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

// The patch's own kind of arithmetic, row by row: from W and D to what is added.
class Change {
 public:
  Change(const DensePatch& patch, std::span<const float> base, int64_t in, float strength)
      : patch_(patch), base_(base), in_(in), strength_(strength), delta_(make_delta_rows(patch.delta, in == 1)) {
    if (patch.magnitude && patch.magnitude->per_column) measure_columns();
  }

  void run(const TakeRow& take) const {
    for_blocks([&](int64_t block) {
      const std::vector<double> changed = changed_rows(block);
      std::vector<float> row(static_cast<size_t>(in_));
      for (int64_t i = 0; i < static_cast<int64_t>(changed.size()) / in_; ++i) {
        finish_row(block * kBlockRows + i, changed.data() + i * in_, row.data());
        take(block * kBlockRows + i, row.data());
      }
    });
  }

 private:
  int64_t rows() const { return patch_.rows.count; }
  int64_t blocks() const { return (rows() + kBlockRows - 1) / kBlockRows; }
  void for_blocks(const std::function<void(int64_t)>& work) const {
    if (rows() * in_ >= kWorthThreads) return parallel_for(blocks(), work);
    for (int64_t block = 0; block < blocks(); ++block) work(block);
  }
  // Where the delta has the values of a row.
  int64_t source(int64_t row) const { return patch_.exchange_halves ? (row + rows() / 2) % rows() : row; }
  const float* base(int64_t row) const { return base_.data() + row * in_; }

  // scale * D of a block of rows; with a magnitude, W + scale * D.
  std::vector<double> changed_rows(int64_t block) const {
    const int64_t first = block * kBlockRows, count = std::min(kBlockRows, rows() - first);
    std::vector<double> values(static_cast<size_t>(count * in_));
    for (int64_t i = 0; i < count;) {  // in one piece, unless the halves meet in this block
      int64_t run = 1;
      while (i + run < count && source(first + i + run) == source(first + i) + run) ++run;
      delta_->read(source(first + i), run, values.data() + i * in_);
      i += run;
    }
    for (size_t i = 0; i < values.size(); ++i) values[i] *= patch_.scale;
    if (patch_.magnitude) {
      for (size_t i = 0; i < values.size(); ++i) values[i] += base(first)[i];
    }
    return values;
  }

  // |W + scale * D| of all columns. Each block's sum by itself first, so that the order does not depend on threads.
  void measure_columns() {
    std::vector<std::vector<double>> sums(static_cast<size_t>(blocks()));
    for_blocks([&](int64_t block) {
      const std::vector<double> values = changed_rows(block);
      std::vector<double>& sum = sums[static_cast<size_t>(block)];
      sum.assign(static_cast<size_t>(in_), 0.0);
      for (size_t i = 0; i < values.size(); ++i) sum[i % static_cast<size_t>(in_)] += values[i] * values[i];
    });
    column_norms_.assign(static_cast<size_t>(in_), 0.0);
    for (const auto& sum : sums) {
      for (size_t j = 0; j < sum.size(); ++j) column_norms_[j] += sum[j];
    }
    for (double& norm : column_norms_) norm = std::sqrt(norm);
  }

  void finish_row(int64_t row, const double* changed, float* target) const {
    const float* w = base(row);
    if (patch_.replaces) {
      for (int64_t j = 0; j < in_; ++j) target[j] = static_cast<float>(changed[j] - w[j]);
    } else if (!patch_.magnitude) {
      for (int64_t j = 0; j < in_; ++j) target[j] = static_cast<float>(strength_ * changed[j]);
    } else if (patch_.magnitude->per_column) {
      for (int64_t j = 0; j < in_; ++j) {
        const double renewed = brought_to(magnitude(j), column_norms_[static_cast<size_t>(j)], changed[j]);
        target[j] = static_cast<float>(strength_ * (renewed - w[j]));
      }
    } else {
      const double norm = std::sqrt(std::inner_product(changed, changed + in_, changed, 0.0));
      for (int64_t j = 0; j < in_; ++j) {
        const double renewed = brought_to(magnitude(source(row)), norm, changed[j]);
        target[j] = static_cast<float>(strength_ * (renewed - w[j]));
      }
    }
  }
  double magnitude(int64_t index) const { return patch_.magnitude->values[static_cast<size_t>(index)]; }
  // A component of a vector of this norm, when the vector is brought to another length. What has no length stays 0.
  static double brought_to(double length, double norm, double component) {
    return norm > 0 ? length * component / norm : 0.0;
  }

  const DensePatch& patch_;
  std::span<const float> base_;
  int64_t in_;
  double strength_;
  std::unique_ptr<DeltaRows> delta_;
  std::vector<double> column_norms_;
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

void each_delta_row(const DensePatch& patch, std::span<const float> base_rows, int64_t in, float strength,
                    const TakeRow& take) {
  check_fits(patch, in);
  check(static_cast<int64_t>(base_rows.size()) == patch.rows.count * in, ErrorCode::invalid_argument,
        "{}: expected {} x {} base values, found {}", patch.parameter, patch.rows.count, in, base_rows.size());
  Change(patch, base_rows, in, strength).run(take);
}

std::vector<float> effective_delta(const DensePatch& patch, std::span<const float> base_rows, int64_t in,
                                   float strength) {
  std::vector<float> result(base_rows.size());
  each_delta_row(patch, base_rows, in, strength,
                 [&](int64_t row, const float* values) { std::copy_n(values, in, result.begin() + row * in); });
  return result;
}

}  // namespace fx
