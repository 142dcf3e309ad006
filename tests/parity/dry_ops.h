// A back-end that computes in everything and does nothing: what remains are the checks.
#pragma once

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
  int calls() const { return calls_; }  // that passed their checks

 private:
  friend RelayOps;
  template <class Args>
  void relay(std::string_view, void (Ops::*)(const Args&), const Args&) {
    ++calls_;
  }

  int calls_ = 0;
};

}  // namespace fx::test
