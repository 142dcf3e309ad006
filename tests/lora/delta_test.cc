// Differences that are not plainly low-rank, against plain loops in double precision.
#include "lora/patch_change.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "lora/delta.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/random.h"

namespace fx::test {
namespace {

using ::testing::HasSubstr;
using Element = std::function<double(int64_t row, int64_t column)>;

Matrix random_matrix(int64_t rows, int64_t columns, const std::string& seed) {
  std::vector<float> values(static_cast<size_t>(rows * columns));
  Rng(seed).fill_normal(values, 0.5f);
  return Matrix::of(rows, columns, values);
}
LowRank random_pair(int64_t rows, int64_t rank, int64_t in, const std::string& seed) {
  return {random_matrix(rank, in, seed + "a"), random_matrix(rows, rank, seed + "b")};
}
Element of(const Matrix& matrix) {
  return [values = matrix.values(), columns = matrix.columns()](int64_t i, int64_t j) -> double {
    return values.at(static_cast<size_t>(i * columns + j));
  };
}
Element of(const LowRank& pair) {
  return [a = of(pair.a), b = of(pair.b), rank = pair.rank()](int64_t i, int64_t j) {
    double sum = 0;
    for (int64_t r = 0; r < rank; ++r) sum += b(i, r) * a(r, j);
    return sum;
  };
}

// Sizes at which blocks, tiles and the halves of an exchange end in the middle of one another.
constexpr int64_t kRows = 90, kIn = 290;

class DeltaTest : public ::testing::Test {
 protected:
  DeltaTest() : base_(static_cast<size_t>(kRows * kIn)) { Rng("base").fill_normal(base_); }

  double base(int64_t i, int64_t j) const { return base_.at(static_cast<size_t>(i * kIn + j)); }
  static DensePatch patch(Delta delta, float scale = 1.0f) {
    return {.parameter = "layer.weight", .rows = {7, kRows}, .delta = std::move(delta), .scale = scale};
  }
  static std::vector<float> values_of(const Element& element) {
    std::vector<float> values;
    for (int64_t i = 0; i < kRows; ++i) {
      for (int64_t j = 0; j < kIn; ++j) values.push_back(static_cast<float>(element(i, j)));
    }
    return values;
  }
  void expect(const DensePatch& patch, float strength, const Element& truth) const {
    EXPECT_LT(relative_error(effective_delta(patch, base_, kIn, strength), values_of(truth)), 1e-7);
  }

  std::vector<float> base_;
};

TEST_F(DeltaTest, LowRank) {
  const LowRank pair = random_pair(kRows, 13, kIn, "p");
  expect(patch(pair, 0.25f), -1.5f, [d = of(pair)](int64_t i, int64_t j) { return -1.5 * 0.25 * d(i, j); });
  Patch low{pair};
  low.module = "layer";
  low.rows = {7, kRows};
  low.scale = 0.25f;
  EXPECT_EQ(as_dense(low).parameter, "layer.weight");
  EXPECT_EQ(effective_delta(as_dense(low), base_, kIn, 2.0f), effective_delta(patch(pair, 0.25f), base_, kIn, 2.0f));
}

TEST_F(DeltaTest, Hadamard) {
  const HadamardDelta delta{random_pair(kRows, 3, kIn, "x"), random_pair(kRows, 5, kIn, "y")};
  expect(patch(delta, 0.5f), 0.75f,
         [x = of(delta.first), y = of(delta.second)](int64_t i, int64_t j) { return 0.375 * x(i, j) * y(i, j); });
}

TEST_F(DeltaTest, KroneckerOfEveryKindOfFactor) {
  const Matrix w1 = random_matrix(6, 10, "w1"), w2 = random_matrix(15, 29, "w2");
  const LowRank p1 = random_pair(6, 2, 10, "p1"), p2 = random_pair(15, 4, 29, "p2");
  const auto kron = [](const Element& left, const Element& right) {
    return [=](int64_t i, int64_t j) { return 2.0 * left(i / 15, j / 29) * right(i % 15, j % 29); };
  };
  expect(patch(KroneckerDelta{w1, w2}, 2.0f), 1.0f, kron(of(w1), of(w2)));
  expect(patch(KroneckerDelta{p1, w2}, 2.0f), 1.0f, kron(of(p1), of(w2)));
  expect(patch(KroneckerDelta{w1, p2}, 2.0f), 1.0f, kron(of(w1), of(p2)));
  expect(patch(KroneckerDelta{p1, p2}, 2.0f), 1.0f, kron(of(p1), of(p2)));
}

TEST_F(DeltaTest, FullDifferenceAndBias) {
  const Matrix full = random_matrix(kRows, kIn, "full");
  expect(patch(FullDelta{full}), 0.5f, [d = of(full)](int64_t i, int64_t j) { return 0.5 * d(i, j); });
  DensePatch bias = patch(FullDelta{random_matrix(1, kRows, "bias")});
  bias.parameter = "layer.bias";
  std::vector<float> expected = std::get<FullDelta>(bias.delta).values.values();
  for (float& value : expected) value *= -2.0f;
  EXPECT_EQ(effective_delta(bias, std::span(base_).first(kRows), 1, -2.0f), expected);
}

// W + s (W' - W), so that strength 0 is the weight itself and strength 1 has the lengths of the file.
TEST_F(DeltaTest, MagnitudeOfRows) {
  const LowRank pair = random_pair(kRows, 4, kIn, "p");
  DensePatch dora = patch(pair, 0.5f);
  dora.magnitude = Magnitude{random_matrix(1, kRows, "m").values(), false};
  const auto changed = [this, d = of(pair)](int64_t i, int64_t j) { return base(i, j) + 0.5 * d(i, j); };
  const auto truth = [&](double strength) {
    return [&, strength](int64_t i, int64_t j) {
      double squares = 0;
      for (int64_t k = 0; k < kIn; ++k) squares += changed(i, k) * changed(i, k);
      const double m = dora.magnitude->values[static_cast<size_t>(i)];
      return strength * (m * changed(i, j) / std::sqrt(squares) - base(i, j));
    };
  };
  expect(dora, 1.0f, truth(1));
  expect(dora, -0.3f, truth(static_cast<double>(-0.3f)));
}

TEST_F(DeltaTest, MagnitudeOfColumns) {
  const LowRank pair = random_pair(kRows, 4, kIn, "p");
  DensePatch dora = patch(pair, 0.5f);
  dora.magnitude = Magnitude{random_matrix(1, kIn, "m").values(), true};
  const auto changed = [this, d = of(pair)](int64_t i, int64_t j) { return base(i, j) + 0.5 * d(i, j); };
  expect(dora, 0.8f, [&](int64_t i, int64_t j) {
    double squares = 0;
    for (int64_t k = 0; k < kRows; ++k) squares += changed(k, j) * changed(k, j);
    const double m = dora.magnitude->values[static_cast<size_t>(j)];
    return static_cast<double>(0.8f) * (m * changed(i, j) / std::sqrt(squares) - base(i, j));
  });
}

TEST_F(DeltaTest, RowsWithoutLengthStayZero) {
  std::ranges::fill(base_, 0.0f);
  DensePatch dora = patch(FullDelta{Matrix::of(kRows, kIn, base_)});
  dora.magnitude = Magnitude{std::vector<float>(kRows, 2.0f), false};
  EXPECT_EQ(effective_delta(dora, base_, kIn, 1.0f), base_);
}

TEST_F(DeltaTest, ExchangesHalvesOfDeltaAndMagnitude) {
  const Matrix full = random_matrix(kRows, kIn, "full");
  DensePatch there = patch(FullDelta{full.with_halves_exchanged()}), here = patch(FullDelta{full});
  there.exchange_halves = true;
  EXPECT_EQ(effective_delta(there, base_, kIn, 0.7f), effective_delta(here, base_, kIn, 0.7f));
  std::vector<float> m = random_matrix(1, kRows, "m").values();
  here.magnitude = Magnitude{m, false};
  std::ranges::rotate(m, m.begin() + kRows / 2);
  there.magnitude = Magnitude{m, false};
  EXPECT_EQ(effective_delta(there, base_, kIn, 0.7f), effective_delta(here, base_, kIn, 0.7f));
}

TEST_F(DeltaTest, AReplacementIgnoresTheStrength) {
  const Matrix full = random_matrix(kRows, kIn, "full");
  DensePatch replacement = patch(FullDelta{full});
  replacement.replaces = true;
  for (const float strength : {0.0f, 1.0f, -3.0f}) {
    expect(replacement, strength, [&, d = of(full)](int64_t i, int64_t j) { return d(i, j) - base(i, j); });
  }
}

// Of more values than one thread takes, in blocks of which the last is not full.
TEST(DeltaOfManyRows, IsTheSameHoweverItsRowsAreDivided) {
  constexpr int64_t rows = 300, in = 290;
  const LowRank pair = random_pair(rows, 5, in, "many");
  DensePatch patch{.parameter = "layer.weight", .rows = {0, rows}, .delta = pair, .scale = 0.5f};
  std::vector<float> base(rows * in), a = pair.a.values(), b = pair.b.values();
  Rng("base").fill_normal(base);
  std::vector<double> truth(rows * in);
  for (int64_t i = 0; i < rows * in; ++i) {
    for (int64_t r = 0; r < 5; ++r) truth[i] += 0.5 * b[i / in * 5 + r] * a[r * in + i % in];
  }
  EXPECT_LT(relative_error(effective_delta(patch, base, in, 1.0f), {truth.begin(), truth.end()}), 1e-7);
  const auto read_base = [&](int64_t begin, int64_t count, float* target) {
    std::copy_n(base.data() + begin * in, count * in, target);
  };
  const std::vector<std::optional<Magnitude>> magnitudes = {
      std::nullopt, Magnitude{random_matrix(1, rows, "rows").values(), false},
      Magnitude{random_matrix(1, in, "columns").values(), true}};
  for (const auto& magnitude : magnitudes) {
    patch.magnitude = magnitude;
    patch.exchange_halves = !patch.exchange_halves;
    const std::vector<float> whole = effective_delta(patch, base, in, 0.7f);
    const PatchChange change(patch, in, 0.7f, read_base);
    std::vector<float> taken(rows * in);
    std::vector<double> room;
    for (int64_t row = 0, count = 1; row < rows; row += count, count = std::min(count % 40 + 3, rows - row)) {
      change.read(row, count, base.data() + row * in, taken.data() + row * in, room);
    }
    EXPECT_EQ(taken, whole);
  }
}

TEST_F(DeltaTest, RefusesWhatDoesNotFit) {
  const auto refused = [&](const DensePatch& patch) {
    return error_of(ErrorCode::invalid_argument, [&] { effective_delta(patch, base_, kIn, 1.0f); });
  };
  EXPECT_THAT(refused(patch(random_pair(kRows, 2, kIn + 1, "p"))), HasSubstr("expected a difference of 90 x 290"));
  EXPECT_THAT(refused(patch(LowRank{random_matrix(2, kIn, "a"), random_matrix(kRows, 3, "b")})), HasSubstr("0 x 0"));
  DensePatch odd = patch(random_pair(kRows, 2, kIn, "p"));
  odd.magnitude = Magnitude{{1.0f, 2.0f}, false};
  EXPECT_THAT(refused(odd), HasSubstr("expected 90 magnitudes, found 2"));
  odd = patch(FullDelta{random_matrix(3, 1, "odd")});
  odd.rows.count = 3;
  odd.exchange_halves = true;
  EXPECT_THAT(error_of(ErrorCode::invalid_argument, [&] { effective_delta(odd, std::vector<float>(3), 1, 1.0f); }),
              HasSubstr("no two halves"));
  EXPECT_THAT(error_of(ErrorCode::invalid_argument,
                       [&] { effective_delta(patch(random_pair(kRows, 2, kIn, "p")), {}, kIn, 1.0f); }),
              HasSubstr("base values, found 0"));
}

}  // namespace
}  // namespace fx::test
