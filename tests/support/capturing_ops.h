// A back-end whose Runtime records, for machines without a GPU: what a captured graph does, done by repeating calls with
// the operands they had. A step that is replayed where it should have been recorded again gives wrong results, or
// reads memory that is gone.
#pragma once

#include <memory>

#include "ops/recording_ops.h"
#include "support/forwarding_ops.h"

namespace fx::test {

class CapturingOps final : public ForwardingOps {
 public:
  explicit CapturingOps(std::unique_ptr<Ops> inner) : ForwardingOps(std::move(inner)), runtime_(*this) {}
  Runtime& runtime() override { return runtime_; }

 private:
  class Calls final : public Recording {
   public:
    Calls(CapturingOps& ops, const std::function<void()>& work) : recorder_(ops.inner()) {
      recorder_.start_recording(false);
      ops.forward_to(recorder_);
      try {
        work();
      } catch (...) {
        ops.forward_to(ops.inner());
        throw;
      }
      ops.forward_to(ops.inner());
      recorder_.stop_recording();
    }
    void replay() override { recorder_.replay(); }

   private:
    RecordingOps recorder_;
  };

  class CapturingRuntime final : public ForwardingRuntime {
   public:
    explicit CapturingRuntime(CapturingOps& ops) : ForwardingRuntime(ops.inner().runtime()), ops_(ops) {}
    bool records() const override { return true; }
    std::unique_ptr<Recording> record(const std::function<void()>& work) override {
      return std::make_unique<Calls>(ops_, work);
    }

   private:
    CapturingOps& ops_;
  };

  CapturingRuntime runtime_;
};

}  // namespace fx::test
