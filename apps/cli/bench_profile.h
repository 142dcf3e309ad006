// Times each operation of a step on its own. A back-end that records runs it several times as one launch, so that what is
// measured is the device's work and not the host's; others run it several times between two synchronisations. What
// repeating does: operands that fit the device's cache are found there, and sums in place go on, so values drift.
#pragma once

#include <functional>
#include <map>

#include "bench_cost.h"
#include "ops/relay_ops.h"

namespace fx::cli {

struct OpTotal {
  OpCost cost;  // of one call
  int calls = 0;
  double seconds = 0;  // of all calls
};

class ProfilingOps final : public RelayOps<ProfilingOps> {
 public:
  explicit ProfilingOps(Ops& inner) : RelayOps(inner) {}

  // From here on operations are timed; until then they just run.
  void start() { timing_ = true; }
  // By time, longest first.
  std::vector<OpTotal> totals() const;

 private:
  friend RelayOps;
  template <class Args>
  void relay(std::string_view name, void (Ops::*op)(const Args&), const Args& args) {
    time(cost_of(name, args), [&] { (inner().*op)(args); });
  }
  // These change the state of the loop, so they run once: timed as one launch with all that this costs.
  void do_euler_step(const EulerStepArgs& args) override;
  void do_advance_step(const AdvanceStepArgs& args) override;

  void time(const OpCost& cost, const std::function<void()>& call);
  void time_once(const OpCost& cost, const std::function<void()>& call);
  double seconds_each(const std::function<void()>& call);
  void note(const OpCost& cost, double seconds);

  bool timing_ = false;
  std::map<std::string, OpTotal> totals_;
};

}  // namespace fx::cli
