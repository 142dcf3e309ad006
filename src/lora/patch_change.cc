#include "lora/patch_change.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "lora/delta.h"

namespace fx {
namespace {

constexpr int64_t kBlockRows = 32;
constexpr int64_t kWorthThreads = 1 << 16;  // values; starting a thread takes as long as computing some thousands

// Calls work(first row, rows) for all blocks of rows, on all cores where that is worth it.
void for_blocks(int64_t rows, int64_t in, const std::function<void(int64_t, int64_t)>& work) {
  const int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
  const auto block = [&](int64_t i) { work(i * kBlockRows, std::min(kBlockRows, rows - i * kBlockRows)); };
  if (rows * in >= kWorthThreads) return parallel_for(blocks, block);
  for (int64_t i = 0; i < blocks; ++i) block(i);
}

// Four sums side by side, for a sum alone waits for each addition.
double squares_of(const double* values, int64_t count) {
  double sums[4] = {};
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (int64_t k = 0; k < 4; ++k) sums[k] += values[i + k] * values[i + k];
  }
  for (; i < count; ++i) sums[0] += values[i] * values[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// What brings a vector of this norm to a length. One that has none stays 0.
double factor_to(double length, double norm) { return norm > 0 ? length / norm : 0.0; }

}  // namespace

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
    for (int64_t row = 0; row < count; ++row) {
      const double* of_row = values.data() + row * in_;
      for (size_t j = 0; j < columns; ++j) sum[j] += of_row[j] * of_row[j];
    }
  });
  std::vector<double> squares(columns);
  for (const auto& sum : sums) {
    for (size_t j = 0; j < columns; ++j) squares[j] += sum[j];
  }
  for (size_t j = 0; j < columns; ++j)
    column_factors_.push_back(factor_to(patch_.magnitude->values[j], std::sqrt(squares[j])));
}

void PatchChange::finish_row(int64_t row, const double* changed, const float* w, float* target) const {
  if (patch_.replaces) {
    for (int64_t j = 0; j < in_; ++j) target[j] = static_cast<float>(changed[j] - w[j]);
  } else if (!patch_.magnitude) {
    for (int64_t j = 0; j < in_; ++j) target[j] = static_cast<float>(strength_ * changed[j]);
  } else if (patch_.magnitude->per_column) {
    for (int64_t j = 0; j < in_; ++j) {
      target[j] = static_cast<float>(strength_ * (column_factors_[static_cast<size_t>(j)] * changed[j] - w[j]));
    }
  } else {
    const double length = patch_.magnitude->values[static_cast<size_t>(source(row))];
    const double factor = factor_to(length, std::sqrt(squares_of(changed, in_)));
    for (int64_t j = 0; j < in_; ++j) target[j] = static_cast<float>(strength_ * (factor * changed[j] - w[j]));
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
