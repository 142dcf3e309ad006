#include "core/shape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "support/expect_error.h"

namespace fx {
namespace {

using test::error_of;
using ::testing::HasSubstr;

TEST(Shape, CountsAndIndexes) {
  Shape shape{2, 3, 4};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape.count(), 24);
  EXPECT_EQ(shape[0], 2);
  EXPECT_EQ(shape[-1], 4);
  shape[-1] = 5;
  EXPECT_EQ(shape, (Shape{2, 3, 5}));
  EXPECT_NE(shape, (Shape{2, 15}));
  EXPECT_EQ(to_string(shape), "(2, 3, 5)");
}

TEST(Shape, ScalarsAndEmptyOnes) {
  EXPECT_EQ(Shape().count(), 1);
  EXPECT_EQ(Shape().rank(), 0);
  EXPECT_EQ(to_string(Shape()), "()");
  EXPECT_EQ((Shape{3, 0}).count(), 0);
}

TEST(Shape, RefusesWhatItCannotHold) {
  const auto refusal = [](const std::vector<int64_t>& dims) {
    return error_of(ErrorCode::invalid_argument, [&] { Shape(dims).count(); });
  };
  EXPECT_THAT(refusal({1, 1, 1, 1, 1, 1}), HasSubstr("at most 5 dimensions, found 6"));
  EXPECT_THAT(refusal({2, -1}), HasSubstr("must not be negative, found -1"));
  EXPECT_THAT(refusal({int64_t{1} << 32, int64_t{1} << 31}),
              HasSubstr("(4294967296, 2147483648) does not fit 63 bits"));
}

}  // namespace
}  // namespace fx
