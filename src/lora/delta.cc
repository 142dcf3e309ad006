#include "lora/delta.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "core/error.h"
#include "core/parallel.h"

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

// Calls work(first row, rows) for all blocks of rows, on all cores where that is worth it.
void for_blocks(int64_t rows, int64_t in, const std::function<void(int64_t, int64_t)>& work) {
  const int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
  const auto block = [&](int64_t i) { work(i * kBlockRows, std::min(kBlockRows, rows - i * kBlockRows)); };
  if (rows * in >= kWorthThreads) return parallel_for(blocks, block);
  for (int64_t i = 0; i < blocks; ++i) block(i);
}

// A component of a vector of this norm, when the vector is brought to another length. What has no length stays 0.
double brought_to(double length, double norm, double component) { return norm > 0 ? length * component / norm : 0.0; }

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

PatchChange::PatchChange(const DensePatch& patch, int64_t in, float strength, const BaseRows& base)
    : patch_(patch), in_(in), strength_(strength) {
  check_fits(patch, in);
  delta_ = make_delta_rows(patch.delta, in == 1);
  if (patch.magnitude && patch.magnitude->per_column) measure_columns(base);
}

void PatchChange::read(int64_t begin, int64_t count, const float* base, float* target,
                       std::vector<double>& room) const {
  read_changed(begin, count, base, room);
  for (int64_t i = 0; i < count; ++i) finish_row(begin + i, room.data() + i * in_, base + i * in_, target + i * in_);
}

// Where the delta has the values of a row.
int64_t PatchChange::source(int64_t row) const {
  return patch_.exchange_halves ? (row + patch_.rows.count / 2) % patch_.rows.count : row;
}

// scale * D; with a magnitude, W + scale * D.
void PatchChange::read_changed(int64_t begin, int64_t count, const float* base, std::vector<double>& values) const {
  values.resize(static_cast<size_t>(count * in_));
  for (int64_t i = 0; i < count;) {  // in one piece, unless the halves meet in it
    int64_t run = 1;
    while (i + run < count && source(begin + i + run) == source(begin + i) + run) ++run;
    delta_->read(source(begin + i), run, values.data() + i * in_);
    i += run;
  }
  const double scale = patch_.scale;
  for (double& value : values) value *= scale;
  if (patch_.magnitude) {
    for (size_t i = 0; i < values.size(); ++i) values[i] += base[i];
  }
}

// |W + scale * D| of all columns. Each block's sum by itself first, so that the order does not depend on threads.
void PatchChange::measure_columns(const BaseRows& base) {
  const auto columns = static_cast<size_t>(in_);
  std::vector<std::vector<double>> sums(static_cast<size_t>((patch_.rows.count + kBlockRows - 1) / kBlockRows));
  for_blocks(patch_.rows.count, in_, [&](int64_t begin, int64_t count) {
    std::vector<float> base_rows(static_cast<size_t>(count * in_));
    base(begin, count, base_rows.data());
    std::vector<double> values;
    read_changed(begin, count, base_rows.data(), values);
    std::vector<double>& sum = sums[static_cast<size_t>(begin / kBlockRows)];
    sum.assign(columns, 0.0);
    for (size_t i = 0; i < values.size(); ++i) sum[i % columns] += values[i] * values[i];
  });
  column_norms_.assign(columns, 0.0);
  for (const auto& sum : sums) {
    for (size_t j = 0; j < columns; ++j) column_norms_[j] += sum[j];
  }
  for (double& norm : column_norms_) norm = std::sqrt(norm);
}

void PatchChange::finish_row(int64_t row, const double* changed, const float* w, float* target) const {
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

std::vector<float> effective_delta(const DensePatch& patch, std::span<const float> base_rows, int64_t in,
                                   float strength) {
  check_fits(patch, in);
  check(static_cast<int64_t>(base_rows.size()) == patch.rows.count * in, ErrorCode::invalid_argument,
        "{}: expected {} x {} base values, found {}", patch.parameter, patch.rows.count, in, base_rows.size());
  const PatchChange change(patch, in, strength, [&](int64_t begin, int64_t count, float* target) {
    std::copy_n(base_rows.data() + begin * in, count * in, target);
  });
  std::vector<float> result(base_rows.size());
  for_blocks(patch.rows.count, in, [&](int64_t begin, int64_t count) {
    std::vector<double> room;
    change.read(begin, count, base_rows.data() + begin * in, result.data() + begin * in, room);
  });
  return result;
}

}  // namespace fx
