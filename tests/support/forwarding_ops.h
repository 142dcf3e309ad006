// A back-end that hands everything on to another: for tests that change one thing about it, or about its device.
#pragma once

#include <memory>
#include <utility>

#include "ops/relay_ops.h"
#include "support/forwarding_runtime.h"

namespace fx::test {

class ForwardingOps : public RelayOps<ForwardingOps> {
 public:
  explicit ForwardingOps(std::unique_ptr<Ops> inner) : RelayOps(*inner), now_(inner.get()), inner_(std::move(inner)) {}

 protected:
  // Where calls go from now on.
  void forward_to(Ops& ops) { now_ = &ops; }

 private:
  friend RelayOps;
  template <class Args>
  void relay(std::string_view, void (Ops::*op)(const Args&), const Args& args) {
    (now_->*op)(args);
  }

  Ops* now_;
  std::unique_ptr<Ops> inner_;
};

}  // namespace fx::test
