// Progress of a device that is a step behind what has been issued.
#include "pipeline/step_reports.h"

#include <gmock/gmock.h>

#include <string>

#include "support/expect_error.h"
#include "support/forwarding_ops.h"

namespace fx::test {
namespace {

using ::testing::ElementsAre;

// Tells in what order things happen. Waiting for a mark with a fault behind it throws it, as a GPU's does.
class LateRuntime final : public ForwardingRuntime {
 public:
  explicit LateRuntime(std::vector<std::string>& events) : ForwardingRuntime(*host()), events_(events) {}
  std::unique_ptr<Mark> mark() override { return std::make_unique<Late>(*this, ++marks_); }
  void synchronize() override { events_.push_back("synchronize"); }

  int faulty = 0;  // step with a fault

 private:
  class Late final : public Mark {
   public:
    Late(LateRuntime& runtime, int step) : runtime_(runtime), step_(step) {}
    void wait() override {
      runtime_.events_.push_back(fmt::format("wait {}", step_));
      if (runtime_.faulty == step_) fail(ErrorCode::device, "fault");
    }

   private:
    LateRuntime& runtime_;
    int step_;
  };
  static Runtime* host() {
    static const std::unique_ptr<Runtime> runtime = make_host_runtime();
    return runtime.get();
  }

  std::vector<std::string>& events_;
  int marks_ = 0;
};

class StepReportsTest : public ::testing::Test {
 protected:
  // Three steps; before the one of this number, from 1, there is something to wait for.
  void run(int stop_before = 0) {
    const ProgressCallback progress = [&](const Progress& now) {
      EXPECT_EQ(now.steps, 3);
      EXPECT_EQ(now.seconds_per_step > 0, now.step > 0);
      events_.push_back(fmt::format("report {}", now.step));
      return now.step != cancel_at_;
    };
    StepReports reports(runtime_, 3, progress);
    for (int step = 1; step <= 3; ++step) {
      if (step == stop_before) reports.catch_up();
      events_.push_back(fmt::format("issue {}", step));
      reports.issued();
    }
    reports.catch_up();
  }

  std::vector<std::string> events_;
  LateRuntime runtime_{events_};
  int cancel_at_ = -1;
};

TEST_F(StepReportsTest, ComeWhileTheNextStepRuns) {
  run();
  EXPECT_THAT(events_, ElementsAre("report 0", "issue 1", "issue 2", "wait 1", "report 1", "issue 3", "wait 2", "report 2",
                                   "wait 3", "report 3", "synchronize"));
}

TEST_F(StepReportsTest, CatchUpWhereAStepHasToWait) {
  run(2);
  EXPECT_THAT(events_, ElementsAre("report 0", "issue 1", "wait 1", "report 1", "issue 2", "issue 3", "wait 2", "report 2",
                                   "wait 3", "report 3", "synchronize"));
}

TEST_F(StepReportsTest, LeaveNothingInFlightWhenCancelled) {
  cancel_at_ = 1;
  EXPECT_EQ(error_of(ErrorCode::cancelled, [&] { run(); }), "cancelled after step 1 of 3");
  EXPECT_THAT(events_, ElementsAre("report 0", "issue 1", "issue 2", "wait 1", "report 1", "synchronize"));
}

TEST_F(StepReportsTest, AreNotCancelledAfterTheLastStep) {
  cancel_at_ = 3;
  run();
  EXPECT_EQ(events_.back(), "synchronize");
}

TEST_F(StepReportsTest, PassOnWhatTheDeviceFoundWrong) {
  runtime_.faulty = 2;
  EXPECT_EQ(error_of(ErrorCode::device, [&] { run(); }), "fault");
  EXPECT_THAT(events_, ElementsAre("report 0", "issue 1", "issue 2", "wait 1", "report 1", "issue 3", "wait 2", "synchronize"));
}

TEST(StepReportsOnTheHost, ComeAtOnce) {
  const std::unique_ptr<Runtime> host = make_host_runtime();
  std::vector<int> done;
  const ProgressCallback progress = [&](const Progress& now) { return done.push_back(now.step), true; };
  StepReports reports(*host, 2, progress);
  reports.issued();
  EXPECT_THAT(done, ElementsAre(0, 1));
  reports.issued();
  EXPECT_THAT(done, ElementsAre(0, 1, 2));
  reports.catch_up();
  EXPECT_THAT(done, ElementsAre(0, 1, 2));
}

}  // namespace
}  // namespace fx::test
