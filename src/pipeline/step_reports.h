// Progress of the steps of a picture, one step behind what has been issued: the device need not wait for the host between two
// steps.
#pragma once

#include <memory>

#include "core/error.h"
#include "core/runtime.h"
#include "pipeline/request.h"
#include "pipeline/stop_watch.h"

namespace fx {

class StepReports {
 public:
  StepReports(Runtime& runtime, int steps, const ProgressCallback& progress)
      : runtime_(runtime), steps_(steps), progress_(progress) {
    report();
  }
  // After an error, too, the caller finds nothing in flight.
  ~StepReports() {
    try {
      runtime_.synchronize();
    } catch (const Error&) {}  // of a picture that is given up
  }
  StepReports(const StepReports&) = delete;
  StepReports& operator=(const StepReports&) = delete;

  // A step has been issued. Reports the one before, or this one where it is done already. Throws cancelled when the callback
  // says so, and what the device found wrong.
  void issued() {
    std::unique_ptr<Mark> mark = runtime_.mark();
    if (!mark) return finished();
    std::swap(mark, behind_);
    if (!mark) return;
    mark->wait();
    finished();
  }
  // Waits for the step that has been issued last, and reports it.
  void catch_up() {
    if (!behind_) return;
    behind_->wait();
    behind_.reset();
    finished();
  }

 private:
  void finished() {
    ++done_;
    seconds_ += watch_.lap();
    report();
  }
  void report() {
    if (!progress_) return;
    const bool go_on = progress_({Stage::denoise, done_, steps_, done_ > 0 ? seconds_ / done_ : 0.0});
    // Nothing is left to cancel after the last step.
    check(go_on || done_ == steps_, ErrorCode::cancelled, "cancelled after step {} of {}", done_, steps_);
  }

  Runtime& runtime_;
  const int steps_;
  const ProgressCallback& progress_;
  StopWatch watch_;
  double seconds_ = 0;
  int done_ = 0;
  std::unique_ptr<Mark> behind_;
};

}  // namespace fx
