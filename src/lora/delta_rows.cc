#include "lora/delta_rows.h"

#include <algorithm>
#include <vector>

namespace fx {
namespace {

// b a. Works on tiles that stay in the first-level cache while the ranks are added up.
class Product final : public DeltaRows {
 public:
  explicit Product(const LowRank& pair)
      : rank_(pair.rank()), columns_(pair.a.columns()), a_(pair.a.values()), b_(pair.b.values()) {}

  void read(int64_t begin, int64_t count, double* target) const override {
    std::fill_n(target, count * columns_, 0.0);
    for (int64_t first = 0; first < columns_; first += kTile) {
      const int64_t width = std::min(kTile, columns_ - first);
      for (int64_t row = 0; row < count; row += kRows) {
        add_tile(begin + row, std::min(kRows, count - row), first, width, target + row * columns_ + first);
      }
    }
  }

 private:
  static constexpr int64_t kTile = 256, kRows = 8;

  void add_tile(int64_t row, int64_t rows, int64_t column, int64_t width, double* target) const {
    for (int64_t r = 0; r < rank_; ++r) {
      const float* a = a_.data() + r * columns_ + column;
      for (int64_t i = 0; i < rows; ++i) {
        const double b = b_[(row + i) * rank_ + r];
        double* out = target + i * columns_;
        for (int64_t j = 0; j < width; ++j) out[j] += b * a[j];
      }
    }
  }

  int64_t rank_, columns_;
  std::vector<float> a_, b_;  // (rank, columns), (rows, rank)
};

class Hadamard final : public DeltaRows {
 public:
  explicit Hadamard(const HadamardDelta& delta)
      : columns_(delta.first.a.columns()), first_(delta.first), second_(delta.second) {}

  void read(int64_t begin, int64_t count, double* target) const override {
    std::vector<double> factor(static_cast<size_t>(count * columns_));
    first_.read(begin, count, target);
    second_.read(begin, count, factor.data());
    for (size_t i = 0; i < factor.size(); ++i) target[i] *= factor[i];
  }

 private:
  int64_t columns_;
  Product first_, second_;
};

class Kronecker final : public DeltaRows {
 public:
  explicit Kronecker(const KroneckerDelta& delta) : w1_(delta.w1), w2_(delta.w2) {}

  void read(int64_t begin, int64_t count, double* target) const override {
    for (int64_t row = begin; row < begin + count; ++row) {
      const double* left = w1_.row(row / w2_.rows);
      const double* right = w2_.row(row % w2_.rows);
      for (int64_t j = 0; j < w1_.columns; ++j) {
        for (int64_t l = 0; l < w2_.columns; ++l) *target++ = left[j] * right[l];
      }
    }
  }

 private:
  struct Factor {
    explicit Factor(const KroneckerDelta::Factor& factor) {
      if (const auto* pair = std::get_if<LowRank>(&factor)) {
        rows = pair->b.rows(), columns = pair->a.columns();
        values.resize(static_cast<size_t>(rows * columns));
        Product(*pair).read(0, rows, values.data());
      } else {
        const auto& whole = std::get<Matrix>(factor);
        rows = whole.rows(), columns = whole.columns();
        const std::vector<float> read = whole.values();
        values.assign(read.begin(), read.end());
      }
    }
    const double* row(int64_t index) const { return values.data() + index * columns; }

    int64_t rows = 0, columns = 0;
    std::vector<double> values;
  };
  Factor w1_, w2_;
};

class Full final : public DeltaRows {
 public:
  // That of a bias is one row in the file, and a column here.
  Full(const Matrix& values, bool column) : values_(values), columns_(column ? 1 : values.columns()) {
    if (column) whole_ = values.values();
  }

  void read(int64_t begin, int64_t count, double* target) const override {
    if (!whole_.empty()) {
      std::copy_n(whole_.begin() + begin, count, target);
      return;
    }
    std::vector<float> row(static_cast<size_t>(columns_));
    for (int64_t i = 0; i < count; ++i) {
      values_.read_rows(begin + i, 1, row.data());
      std::ranges::copy(row, target + i * columns_);
    }
  }

 private:
  const Matrix& values_;
  int64_t columns_;
  std::vector<float> whole_;  // of a bias
};

struct MakeRows {
  bool column;
  std::unique_ptr<DeltaRows> operator()(const LowRank& pair) const { return std::make_unique<Product>(pair); }
  std::unique_ptr<DeltaRows> operator()(const HadamardDelta& delta) const { return std::make_unique<Hadamard>(delta); }
  std::unique_ptr<DeltaRows> operator()(const KroneckerDelta& delta) const {
    return std::make_unique<Kronecker>(delta);
  }
  std::unique_ptr<DeltaRows> operator()(const FullDelta& delta) const {
    return std::make_unique<Full>(delta.values, column);
  }
};

}  // namespace

std::unique_ptr<DeltaRows> make_delta_rows(const Delta& delta, bool column) {
  return std::visit(MakeRows{column}, delta);
}

}  // namespace fx
