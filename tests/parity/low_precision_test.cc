// The CUDA back-end in bf16 and e4m3 against the reference, which gets the same rounded values in f32: the shared
// cases, and those that only such a back-end has. Skipped where there is no GPU.
#include <gtest/gtest.h>

#include "parity/cuda_case.h"
#include "parity/low_precision_cases.h"
#include "support/back_ends.h"

namespace fx::test {
namespace {

class CudaLowPrecision : public ::testing::TestWithParam<OpCase> {
 protected:
  void SetUp() override {
    if (!why_missing("cuda").empty()) GTEST_SKIP() << why_missing("cuda");
  }
};

TEST_P(CudaLowPrecision, Reference) { expect_parity(GetParam(), cuda_ops(), Values::narrow); }
TEST_P(CudaLowPrecision, AllocatesOnce) { expect_allocates_once(GetParam(), cuda_ops(), Values::narrow); }
TEST_P(CudaLowPrecision, GraphEqualsCall) { expect_graph_equals_call(GetParam(), cuda_ops(), Values::narrow); }

INSTANTIATE_TEST_SUITE_P(Ops, CudaLowPrecision, ::testing::ValuesIn(narrow_cases()), case_test_name);

// The same answers where the card can do less.
class CudaLimited : public CudaLowPrecision {};

TEST_P(CudaLimited, Reference) {
  static const std::unique_ptr<Ops> ops = limited_cuda_ops();
  expect_parity(GetParam(), *ops, Values::narrow);
}

INSTANTIATE_TEST_SUITE_P(Ops, CudaLimited, ::testing::ValuesIn(low_precision_cases()), case_test_name);
INSTANTIATE_TEST_SUITE_P(Fronts, CudaLimited, ::testing::ValuesIn(front_cases()), case_test_name);
INSTANTIATE_TEST_SUITE_P(Attention, CudaLimited, ::testing::ValuesIn(attention_cases()), case_test_name);

// Rounding to bf16 alone costs less than half a percent; what is below that has not been in e4m3.
TEST(CudaAttention, IsInE4m3WhereTheCardHasIt) {
  if (!why_missing("cuda").empty()) GTEST_SKIP() << why_missing("cuda");
  int major = 0;
  ASSERT_EQ(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), cudaSuccess);
  const OpCase c = e4m3_attention_case();
  RefOps<double> reference;
  const CaseRun run(c, cuda_ops(), Values::narrow), truth(c, reference, Values::widened);
  const double found = relative_error(run.operands.owned("o"), truth.operands.owned("o"));
  EXPECT_LT(found, 0.08);
  if (major == 9) { EXPECT_GT(found, 0.005); }
}

}  // namespace
}  // namespace fx::test
