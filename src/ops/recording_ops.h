// Records the calls of one step, with their operand addresses, and replays them: on a CPU what graph capture is on a GPU.
// The tests use it to prove that a forward pass keeps the graph-safety contract of ops.h: a sequence recorded at step 0
// must give the same bytes at every other step, prompt, seed and adapter as direct execution.
#pragma once

#include <functional>
#include <vector>

#include "ops/relay_ops.h"

namespace fx {

class RecordingOps final : public RelayOps<RecordingOps> {
 public:
  explicit RecordingOps(Ops& inner) : RelayOps(inner) {}

  // Forgets the recorded calls. From here on, calls are recorded, and run too unless the caller wants none.
  void start_recording(bool run = true) {
    calls_.clear();
    recording_ = true;
    running_ = run;
  }
  void stop_recording() {
    recording_ = false;
    running_ = true;
  }
  // Runs the recorded calls again, with the operands as they were recorded.
  void replay() const {
    for (const auto& call : calls_) call();
  }
  size_t recorded_calls() const { return calls_.size(); }

 private:
  friend RelayOps;
  template <class Args>
  void relay(std::string_view, void (Ops::*op)(const Args&), const Args& args) {
    if (running_) (inner().*op)(args);
    if (recording_) calls_.push_back([&inner = inner(), op, args] { (inner.*op)(args); });
  }

  bool recording_ = false, running_ = true;
  std::vector<std::function<void()>> calls_;
};

}  // namespace fx
