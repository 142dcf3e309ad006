// A back-end that computes in everything and does nothing: what remains are the checks, and what was asked for.
#pragma once

#include <type_traits>
#include <vector>

#include "ops/relay_ops.h"

namespace fx::test {

class DryOps final : public RelayOps<DryOps> {
 public:
  explicit DryOps(Ops& memory) : RelayOps(memory) {}  // whose Runtime tests allocate from
  std::string_view backend_name() const override { return "dry"; }
  bool computes_in(DType dtype) const override {
    return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f8_e4m3;
  }
  bool multiplies_in(DType dtype) const override { return computes_in(dtype); }
  // That passed their checks.
  int calls() const { return calls_; }
  const std::vector<LinearArgs>& linears() const { return linears_; }
  const std::vector<AttentionArgs>& attentions() const { return attentions_; }

 private:
  friend RelayOps;
  template <class Args>
  void relay(std::string_view, void (Ops::*)(const Args&), const Args& args) {
    ++calls_;
    if constexpr (std::is_same_v<Args, LinearArgs>) linears_.push_back(args);
    if constexpr (std::is_same_v<Args, AttentionArgs>) attentions_.push_back(args);
  }

  int calls_ = 0;
  std::vector<LinearArgs> linears_;
  std::vector<AttentionArgs> attentions_;
};

}  // namespace fx::test
