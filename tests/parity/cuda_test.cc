// Every operation of the CUDA back-end against the reference, and as a captured graph. Skipped where there is no GPU.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "backends/cuda/cuda_ops.h"
#include "parity/case_run.h"
#include "support/back_ends.h"

namespace fx::test {
namespace {

class CudaParity : public ::testing::TestWithParam<OpCase> {
 protected:
  void SetUp() override {
    if (!why_missing("cuda").empty()) GTEST_SKIP() << why_missing("cuda");
  }
  // One for all tests: a context takes a second.
  static Ops& ops() {
    static const std::unique_ptr<Ops> shared = make_cuda_ops();
    return *shared;
  }
};

TEST_P(CudaParity, Reference) { expect_parity(GetParam(), ops()); }

TEST_P(CudaParity, AllocatesOnce) {
  const CaseRun first(GetParam(), ops());
  const size_t bytes = ops().runtime().memory().current_bytes;
  const CaseRun second(GetParam(), ops());
  EXPECT_EQ(ops().runtime().memory().current_bytes, bytes);
}

// The graph of a call does with the same operands what the call does.
TEST_P(CudaParity, GraphEqualsCall) {
  const OpCase& c = GetParam();
  const CaseRun called(c, ops());  // also the warm-up
  const cudaStream_t stream = dynamic_cast<cuda::CudaRuntime&>(ops().runtime()).stream();
  Operands operands(c.name);
  c.make(operands);
  DeviceOperands device(operands, ops().runtime());
  device.upload();
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
  c.run(ops(), device.operands());
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  ASSERT_EQ(cudaGraphLaunch(executable, stream), cudaSuccess);
  ops().runtime().synchronize();
  device.download();
  for (size_t i = 0; i < operands.buffers().size(); ++i) {
    EXPECT_EQ(operands.buffers()[i].buffer.bytes(), called.bytes(i)) << operands.buffers()[i].name;
  }
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
}

INSTANTIATE_TEST_SUITE_P(Ops, CudaParity, ::testing::ValuesIn(test_cases()), case_test_name);

}  // namespace

void PrintTo(const OpCase& c, std::ostream* stream) { *stream << c.name; }

}  // namespace fx::test
