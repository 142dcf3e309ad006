// Ctrl-C and its like. A thread of its own waits for SIGINT, SIGTERM and SIGHUP, but for those that the parent ignores,
// and ends the process at once with status 130: what outlives a process are its files, and these are written under a
// SignalHold, so none is left half-written. Waiting for the end of a step instead would take a minute with a large model
// on a CPU.
#pragma once

#include <mutex>

namespace fx::cli {

inline constexpr int kExitInterrupted = 130;

// Call once, before any other thread starts. Also turns SIGPIPE and SIGXFSZ into failed writes. Throws Error(device) when
// the system gives us no thread.
void watch_signals();

// While one lives, an interruption waits.
class SignalHold {
 public:
  SignalHold();

 private:
  std::lock_guard<std::mutex> lock_;
};

}  // namespace fx::cli
