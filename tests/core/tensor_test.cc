#include "core/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "support/expect_error.h"

namespace fx {
namespace {

using ::testing::ElementsAre;
using test::error_of;
using ::testing::HasSubstr;

// 0, 1, 2, ... as a (2, 3, 4) tensor.
struct TensorTest : ::testing::Test {
  TensorTest() { std::iota(values.begin(), values.end(), 0.0f); }
  std::vector<float> values = std::vector<float>(24);
  Tensor tensor{values.data(), DType::f32, {2, 3, 4}};
};

// All elements, in row-major order, whatever the strides.
std::vector<float> elements(const Tensor& tensor) {
  if (tensor.rank() == 0) return {*tensor.f32()};
  std::vector<float> all;
  for (int64_t i = 0; i < tensor.size(0); ++i) {
    for (const float value : elements(tensor[i])) all.push_back(value);
  }
  return all;
}

TEST_F(TensorTest, IsContiguousAtFirst) {
  EXPECT_TRUE(tensor.defined());
  EXPECT_TRUE(tensor.contiguous());
  EXPECT_EQ(tensor.count(), 24);
  EXPECT_EQ(tensor.bytes(), 96);
  EXPECT_EQ(tensor.stride(0), 12);
  EXPECT_EQ(tensor.stride(-1), 1);
  EXPECT_EQ(elements(tensor), values);
  EXPECT_EQ(describe(tensor), "(2, 3, 4) f32");
  EXPECT_FALSE(Tensor().defined());
  EXPECT_EQ(describe(Tensor()), "none");
}

TEST_F(TensorTest, Slices) {
  const Tensor rows = tensor.slice(1, 1, 3);
  EXPECT_EQ(rows.shape(), (Shape{2, 2, 4}));
  EXPECT_FALSE(rows.contiguous());
  EXPECT_THAT(elements(rows.slice(0, 1, 2)), ElementsAre(16, 17, 18, 19, 20, 21, 22, 23));
  EXPECT_THAT(elements(tensor.slice(-1, 3, 4)), ElementsAre(3, 7, 11, 15, 19, 23));
  EXPECT_EQ(tensor.slice(0, 2, 2).count(), 0);
  EXPECT_TRUE(tensor.slice(0, 1, 2).contiguous());
}

TEST_F(TensorTest, SliceRefusesWhatIsOutside) {
  const auto refusal = [&](int axis, int64_t begin, int64_t end) {
    return error_of(ErrorCode::invalid_argument, [&] { tensor.slice(axis, begin, end); });
  };
  EXPECT_THAT(refusal(0, 0, 3), HasSubstr("slice [0, 3) of axis 0 is outside of (2, 3, 4) f32"));
  EXPECT_THAT(refusal(1, -1, 2), HasSubstr("outside"));
  EXPECT_THAT(refusal(1, 2, 1), HasSubstr("outside"));
  EXPECT_THAT(refusal(3, 0, 1), HasSubstr("axis 3"));
  EXPECT_THAT(refusal(-4, 0, 1), HasSubstr("outside"));
  EXPECT_THAT(error_of(ErrorCode::invalid_argument, [&] { tensor[2]; }), HasSubstr("outside"));
}

TEST_F(TensorTest, IndexDropsTheFirstAxis) {
  EXPECT_EQ(tensor[1].shape(), (Shape{3, 4}));
  EXPECT_THAT(elements(tensor[1][2]), ElementsAre(20, 21, 22, 23));
  EXPECT_EQ(*tensor[1][2][3].f32(), 23.0f);
  EXPECT_EQ(tensor[1][2][3].rank(), 0);
}

TEST_F(TensorTest, Transposes) {
  const Tensor turned = tensor.transpose(0, -1);
  EXPECT_EQ(turned.shape(), (Shape{4, 3, 2}));
  EXPECT_FALSE(turned.contiguous());
  EXPECT_THAT(elements(turned[1]), ElementsAre(1, 13, 5, 17, 9, 21));
  EXPECT_EQ(elements(turned.transpose(-1, 0)), values);
}

TEST_F(TensorTest, ReshapesContiguousOnes) {
  EXPECT_EQ(elements(tensor.reshape({4, 6})), values);
  EXPECT_EQ(tensor.reshape({1, 24, 1}).shape(), (Shape{1, 24, 1}));
  EXPECT_THAT(error_of(ErrorCode::invalid_argument,
                       [&] {
                         tensor.reshape({5, 5});
                       }),
              HasSubstr("cannot view (2, 3, 4) f32 as (5, 5): the element counts differ"));
}

TEST_F(TensorTest, ReshapesStridedOnesWhereTheStridesAllowIt) {
  const Tensor half = tensor.slice(2, 0, 2);  // (2, 3, 2), strides 12, 4, 1
  EXPECT_EQ(elements(half.reshape({6, 2})), elements(half));
  EXPECT_EQ(elements(half.reshape({2, 1, 3, 2, 1})), elements(half));
  EXPECT_EQ(elements(half.reshape({3, 2, 1, 2})), elements(half));
  EXPECT_THAT(error_of(ErrorCode::invalid_argument, [&] { half.reshape({12}); }),
              HasSubstr("as (12): its strides do not allow it"));

  const Tensor heads = tensor.transpose(0, 1);  // (3, 2, 4), strides 4, 12, 1
  EXPECT_EQ(elements(heads.reshape({3, 2, 2, 2})), elements(heads));
  EXPECT_THAT(error_of(ErrorCode::invalid_argument, [&] { heads.reshape({6, 4}); }), HasSubstr("strides"));
}

// Whatever view and whatever new shape: a reshape that is allowed keeps every element in its place.
TEST_F(TensorTest, EveryAllowedReshapeKeepsTheOrder) {
  std::vector<Tensor> views = {tensor,
                               tensor.transpose(0, 1),
                               tensor.transpose(1, 2),
                               tensor.slice(2, 1, 3),
                               tensor.slice(1, 0, 2),
                               tensor.slice(1, 1, 2),
                               tensor[1],
                               tensor.slice(2, 2, 3)};
  for (size_t i = 0; i < 8; ++i) views.push_back(views[i].transpose(0, -1));
  int allowed = 0;
  for (const Tensor& view : views) {
    const int64_t count = view.count();
    for (int64_t a = 1; a <= count; ++a) {
      for (int64_t b = 1; count % a == 0 && b <= count / a; ++b) {
        if (count / a % b != 0) continue;
        try {
          const Tensor shaped = view.reshape({a, b, count / a / b});
          ASSERT_EQ(elements(shaped), elements(view)) << describe(view) << " as " << describe(shaped);
          ++allowed;
        } catch (const Error& error) { ASSERT_FALSE(view.contiguous()) << error.what(); }
      }
    }
  }
  EXPECT_GE(allowed, 100);
}

TEST_F(TensorTest, EmptyTensorsReshape) {
  const Tensor none = tensor.slice(1, 1, 1);  // (2, 0, 4)
  EXPECT_EQ(none.reshape({0, 8}).count(), 0);
  EXPECT_EQ(tensor.slice(0, 0, 0).reshape({3, 0}).shape(), (Shape{3, 0}));
}

}  // namespace
}  // namespace fx
