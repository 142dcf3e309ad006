// What every case must keep on a GPU besides being right, and the back-ends that the tests share.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "backends/cuda/cuda_ops.h"
#include "backends/make_ops.h"
#include "parity/case_run.h"

namespace fx::test {

// One for all tests: a context takes a second.
inline Ops& cuda_ops() {
  static const std::unique_ptr<Ops> shared = make_cuda_ops();
  return *shared;
}

// What stands in where the card has no matrix units for e4m3 and cuDNN takes no attention.
inline std::unique_ptr<Ops> limited_cuda_ops() {
  return make_cuda_ops({.capability_limit = 80, .fused_attention = false});
}

inline void expect_allocates_once(const OpCase& c, Ops& ops, Values kind) {
  const CaseRun first(c, ops, kind);
  const size_t bytes = ops.runtime().memory().current_bytes;
  const CaseRun second(c, ops, kind);
  EXPECT_EQ(ops.runtime().memory().current_bytes, bytes);
}

// What a call issues, as a graph; null if it cannot be captured.
inline cudaGraph_t captured(const OpCase& c, Ops& ops, const Operands& operands, cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
  try {
    c.run(ops, operands);
  } catch (const std::exception& e) {  // the stream must be of use for the next test
    ADD_FAILURE() << e.what();
  }
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  return graph;
}

// The graph of a call does with the same operands what the call does.
inline void expect_graph_equals_call(const OpCase& c, Ops& ops, Values kind) {
  const CaseRun called(c, ops, kind);  // also the warm-up
  const cudaStream_t stream = dynamic_cast<cuda::CudaRuntime&>(ops.runtime()).stream();
  Operands operands(c.name, kind);
  c.make(operands);
  DeviceOperands device(operands, ops.runtime());
  device.upload();
  const cudaGraph_t graph = captured(c, ops, device.operands(), stream);
  cudaGraphExec_t executable = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  ASSERT_EQ(cudaGraphLaunch(executable, stream), cudaSuccess);
  ops.runtime().synchronize();
  device.download();
  for (size_t i = 0; i < operands.buffers().size(); ++i) {
    EXPECT_EQ(operands.buffers()[i].buffer.bytes(), called.bytes(i)) << operands.buffers()[i].name;
  }
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
}

}  // namespace fx::test
