// Convolution of channels-last pictures through cuDNN, with bias and residual in the same kernel where it can.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>

#include "backends/cuda/cudnn_graph.h"
#include "core/dtype.h"

namespace fx::cuda {

// y = conv(x, w) + bias + residual. x is (batch, height, width, in), w is (out, kernel_height, kernel_width, in), y and
// residual are (batch, height', width', out), all dense and of one type: bf16 with sums in f32, or f32 without TF32.
// The residual may be y itself. Addresses are multiples of 16 bytes. In bf16 give the bias as bf16: cuDNN's prepared
// kernels take no other, and with f32 it generates one for Ampere's instructions.
struct ConvolutionProblem {
  DType dtype = DType::bf16;
  DType bias_dtype = DType::f32;  // or bf16
  int64_t batch = 1, height = 0, width = 0, in = 0, out = 0;
  int64_t kernel_height = 0, kernel_width = 0, stride = 1, pad_begin = 0, pad_end = 0;  // pads of both axes
  const void *x = nullptr, *w = nullptr;
  const void* bias = nullptr;      // null: none
  const void* residual = nullptr;  // null: none
  void* y = nullptr;

  int64_t out_height() const { return (height + pad_begin + pad_end - kernel_height) / stride + 1; }
  int64_t out_width() const { return (width + pad_begin + pad_end - kernel_width) / stride + 1; }
};

class Convolution {
 public:
  explicit Convolution(CudnnSession& session) : session_(session) {}
  Convolution(const Convolution&) = delete;
  Convolution& operator=(const Convolution&) = delete;

  // Enqueues the work; the residual is always in y. Returns whether the bias is too: where it is not, cuDNN had no
  // engine that adds it, and the caller must. The first call with given sizes makes plans, so it must come before a
  // graph is captured. Throws unsupported with cuDNN's reason where it has no engine for the convolution itself.
  [[nodiscard]] bool run(const ConvolutionProblem& problem);

  // Makes the plans, and tells whether `run` will work. Of addresses it is only read whether they are null.
  bool supports(const ConvolutionProblem& problem);

 private:
  struct Entry {
    std::unique_ptr<GraphPlan> plan;
    bool fused = false;   // bias and residual are in the plan; otherwise y is added to where there is a residual
    std::string refusal;  // why there is no plan
  };
  using Key = std::array<int64_t, 14>;
  const Entry& entry_of(const ConvolutionProblem& problem);

  CudnnSession& session_;
  std::map<Key, Entry> entries_;
};

}  // namespace fx::cuda
