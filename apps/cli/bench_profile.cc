#include "bench_profile.h"

#include <algorithm>

#include "pipeline/stop_watch.h"

namespace fx::cli {
namespace {

constexpr int kRecordedRepeats = 20, kIssuedRepeats = 4;

}  // namespace

double ProfilingOps::seconds_each(const std::function<void()>& call) {
  Runtime& runtime = inner().runtime();
  call();  // the first call with a shape may allocate
  const int repeats = runtime.records() ? kRecordedRepeats : kIssuedRepeats;
  const auto all = [&] {
    for (int i = 0; i < repeats; ++i) call();
  };
  const std::unique_ptr<Recording> recording = runtime.records() ? runtime.record(all) : nullptr;
  if (recording) recording->replay();  // so that the timed launch finds it on the device
  runtime.synchronize();
  StopWatch watch;
  if (recording) recording->replay();
  else all();
  runtime.synchronize();
  return watch.lap() / repeats;
}

void ProfilingOps::note(const OpCost& cost, double seconds) {
  OpTotal& total = totals_[cost.name];
  total.cost = cost;
  ++total.calls;
  total.seconds += seconds;
}

void ProfilingOps::time(const OpCost& cost, const std::function<void()>& call) {
  if (timing_) note(cost, seconds_each(call));
  else call();
}

void ProfilingOps::time_once(const OpCost& cost, const std::function<void()>& call) {
  inner().runtime().synchronize();
  StopWatch watch;
  call();
  if (!timing_) return;
  inner().runtime().synchronize();
  note(cost, watch.lap());
}

std::vector<OpTotal> ProfilingOps::totals() const {
  std::vector<OpTotal> sorted;
  for (const auto& [name, total] : totals_) sorted.push_back(total);
  std::ranges::sort(sorted, std::greater{}, &OpTotal::seconds);
  return sorted;
}

void ProfilingOps::do_euler_step(const EulerStepArgs& args) {
  time_once(cost_of("euler_step", args), [&] { inner().euler_step(args); });
}

void ProfilingOps::do_advance_step(const AdvanceStepArgs& args) {
  time_once(cost_of("advance_step", args), [&] { inner().advance_step(args); });
}

}  // namespace fx::cli
