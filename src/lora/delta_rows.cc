#include "lora/delta_rows.h"

#include <algorithm>
#include <vector>

namespace fx {
namespace {

constexpr int64_t kRanks = 4;  // added up at a time, in their order, while the sum is in a register

// out += b[0] a[0] + b[1] a[1] + ..., where rows of a lie `pitch` apart.
[[gnu::always_inline]] inline void add_ranks_to(const double* a, int64_t pitch, const double* b, int64_t width,
                                                double* out) {
  static_assert(kRanks == 4);
  const double *a1 = a + pitch, *a2 = a1 + pitch, *a3 = a2 + pitch;
  for (int64_t j = 0; j < width; ++j) out[j] = out[j] + b[0] * a[j] + b[1] * a1[j] + b[2] * a2[j] + b[3] * a3[j];
}
// The same bits: no product is fused with its sum.
void add_ranks(const double* a, int64_t pitch, const double* b, int64_t width, double* out) {
  add_ranks_to(a, pitch, b, width, out);
}
[[gnu::target("avx2")]] void add_ranks_avx2(const double* a, int64_t pitch, const double* b, int64_t width,
                                            double* out) {
  add_ranks_to(a, pitch, b, width, out);
}

// b a. Works on tiles that stay in the first-level cache while the ranks are added up.
class Product final : public DeltaRows {
 public:
  explicit Product(const LowRank& pair)
      : ranks_((pair.rank() + kRanks - 1) / kRanks * kRanks),
        columns_(pair.a.columns()),
        a_(static_cast<size_t>(ranks_ * columns_)),
        b_(static_cast<size_t>(pair.b.rows() * ranks_)) {
    std::ranges::copy(pair.a.values(), a_.begin());
    const std::vector<float> b = pair.b.values();
    for (int64_t row = 0; row < pair.b.rows(); ++row) {
      std::copy_n(b.data() + row * pair.rank(), pair.rank(), b_.data() + row * ranks_);
    }
  }

  void read(int64_t begin, int64_t count, double* target) const override {
    std::fill_n(target, count * columns_, 0.0);
    const auto add = __builtin_cpu_supports("avx2") ? add_ranks_avx2 : add_ranks;
    for (int64_t first = 0; first < columns_; first += kTile) {
      const int64_t width = std::min(kTile, columns_ - first);
      for (int64_t rank = 0; rank < ranks_; rank += kRanks) {
        const double* a = a_.data() + rank * columns_ + first;
        for (int64_t row = 0; row < count; ++row) {
          add(a, columns_, b_.data() + (begin + row) * ranks_ + rank, width, target + row * columns_ + first);
        }
      }
    }
  }

 private:
  static constexpr int64_t kTile = 256;

  int64_t ranks_, columns_;    // ranks: with zeros up to a multiple of kRanks
  std::vector<double> a_, b_;  // (ranks, columns), (rows, ranks)
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
