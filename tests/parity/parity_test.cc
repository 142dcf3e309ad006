// Every operation of every back-end against the reference: accuracy, memory, determinism.
#include <gtest/gtest.h>

#include <memory>

#include "backends/cpu/cpu_ops.h"
#include "backends/make_ops.h"
#include "parity/case_run.h"

namespace fx::test {
namespace {

class Parity : public ::testing::TestWithParam<OpCase> {
 protected:
  void check(Ops& ops) { expect_parity(GetParam(), ops); }
};

TEST_P(Parity, Cpu) {
  const auto ops = make_cpu_ops(2);
  check(*ops);
}

// The same binary on an older processor, with another number of threads.
TEST_P(Parity, CpuAvx2) {
  CpuOps ops(3, InstructionSet::avx2);
  check(ops);
}

// A thread count changes who computes what, not what is computed.
TEST_P(Parity, CpuSameBitsForAnyThreads) {
  const auto one = make_cpu_ops(1), five = make_cpu_ops(5);
  expect_same_bits(CaseRun(GetParam(), *one), CaseRun(GetParam(), *five));
}

// After the first call with a shape, nothing is allocated.
TEST_P(Parity, CpuAllocatesOnce) {
  const auto ops = make_cpu_ops(2);
  const CaseRun first(GetParam(), *ops);
  const size_t bytes = ops->runtime().memory().current_bytes;
  const CaseRun second(GetParam(), *ops);
  EXPECT_EQ(ops->runtime().memory().current_bytes, bytes);
  EXPECT_EQ(ops->runtime().memory().peak_bytes, bytes);
}

INSTANTIATE_TEST_SUITE_P(Ops, Parity, ::testing::ValuesIn(test_cases()), case_test_name);

}  // namespace

}  // namespace fx::test
