// Every operation of the CUDA back-end against the reference, and as a captured graph. Skipped where there is no GPU.
#include <gtest/gtest.h>

#include "parity/cuda_case.h"
#include "support/back_ends.h"

namespace fx::test {
namespace {

class CudaParity : public ::testing::TestWithParam<OpCase> {
 protected:
  void SetUp() override {
    if (!why_missing("cuda").empty()) GTEST_SKIP() << why_missing("cuda");
  }
};

TEST_P(CudaParity, Reference) { expect_parity(GetParam(), cuda_ops()); }
TEST_P(CudaParity, AllocatesOnce) { expect_allocates_once(GetParam(), cuda_ops(), Values::f32); }
TEST_P(CudaParity, GraphEqualsCall) { expect_graph_equals_call(GetParam(), cuda_ops(), Values::f32); }

INSTANTIATE_TEST_SUITE_P(Ops, CudaParity, ::testing::ValuesIn(test_cases()), case_test_name);

}  // namespace
}  // namespace fx::test
