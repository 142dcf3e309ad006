// Fused attention, o = softmax(scale * q k^T) v, through cuDNN: bf16, and e4m3 where the GPU has it (Hopper and newer).
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>

#include "backends/cuda/cudnn_graph.h"

namespace fx::cuda {

// q and o are (batch, queries, heads, head_size), k and v are (batch, keys, heads, head_size); the last axis is dense.
// All four are bf16 or all are e4m3, and addresses and strides are multiples of 16 bytes.
struct SdpaProblem {
  int64_t batch = 1, heads = 0, queries = 0, keys = 0, head_size = 0;
  const void *q = nullptr, *k = nullptr, *v = nullptr;
  void* o = nullptr;
  std::array<int64_t, 3> q_strides{}, k_strides{}, v_strides{}, o_strides{};  // of batch, row and head, in elements
  float scale = 1;
};

// Numbers on the device. What q, k and v hold, times their descale, is the value; o holds the value times scale_o. The
// softmax is rounded to e4m3 after scale_s, which descale_s takes back. amax_s and amax_o are outputs: the largest
// weight, and the largest |value| of o.
struct Fp8Scales {
  const float *descale_q = nullptr, *descale_k = nullptr, *descale_v = nullptr, *descale_s = nullptr;
  const float *scale_s = nullptr, *scale_o = nullptr;
  float *amax_s = nullptr, *amax_o = nullptr;
};

class Sdpa {
 public:
  explicit Sdpa(CudnnSession& session) : session_(session) {}
  Sdpa(const Sdpa&) = delete;
  Sdpa& operator=(const Sdpa&) = delete;

  // Enqueues the work. The first call with given sizes and strides makes a plan (a second or so, and workspace), so it
  // must come before a graph is captured. Throws unsupported with cuDNN's reason where it has no engine.
  void run_bf16(const SdpaProblem& problem);
  void run_fp8(const SdpaProblem& problem, const Fp8Scales& scales);

  // Makes the plan, and tells whether there is one. Addresses are not read.
  bool supports_bf16(const SdpaProblem& problem);
  bool supports_fp8(const SdpaProblem& problem);

 private:
  struct Entry {
    std::unique_ptr<GraphPlan> plan;
    std::string refusal;  // why there is no plan
  };
  using Key = std::array<int64_t, 18>;
  const Entry& entry_of(const SdpaProblem& problem, bool fp8);
  const GraphPlan& plan_of(const SdpaProblem& problem, bool fp8);

  CudnnSession& session_;
  std::map<Key, Entry> entries_;
};

}  // namespace fx::cuda
