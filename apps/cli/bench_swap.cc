// fluxswap bench swap: what changing adapters costs, and that it leaves no trace.
#include <algorithm>
#include <future>
#include <random>

#include "bench_report.h"
#include "bench_session.h"
#include "core/error.h"
#include "pipeline/stop_watch.h"
#include "progress_bar.h"

namespace fx::cli {
namespace {

using nlohmann::json;

constexpr int kStepsBetween = 2;

const std::vector<BenchColumn> kColumns = {{"name", "adapters", 9},
                                           {"precision", "type", 5},
                                           {"swaps", "swaps", 6},
                                           {"stage_seconds_median", "stage ms", 9, 2, 1e-3},
                                           {"wait_seconds_median", "wait ms", 9, 2, 1e-3},
                                           {"wait_seconds_largest", "largest", 9, 2, 1e-3},
                                           {"bytes_median", "MB copied", 9, 1, 1e6},
                                           {"captures", "captures", 8},
                                           {"restored", "restored", 8},
                                           {"slot_bytes", "slots GiB", 9, 2, 1 << 30}};

// The velocity of the first step with these adapters, on the same noise each time.
std::vector<float> velocity(BenchSession& session, const AdapterSet& adapters) {
  session.use(adapters);
  session.restart_noise();
  FluxActivations& a = session.begin();
  session.denoiser().advance(a);
  return download(session.engine().ops(), a.velocity);
}

// base -> A -> B -> A -> none: each as it was before, bitwise, and A is something else than nothing.
bool leaves_no_trace(BenchSession& session) {
  velocity(session, {});  // steps are recorded from the second on
  const std::vector<float> base = velocity(session, {});
  const std::vector<float> first = velocity(session, session.adapters(0));
  velocity(session, session.adapters(1));
  const std::vector<float> again = velocity(session, session.adapters(0));
  return velocity(session, {}) == base && again == first && first != base;
}

struct Lists {
  std::vector<double> stage, wait, bytes;
};

void swap_once(BenchSession& session, std::shared_ptr<const Adapter> adapter, Lists& lists) {
  const AdapterSet set = session.set_of(std::move(adapter));
  double stage_seconds = 0;
  StagedAdapters staged = std::async(std::launch::async, [&] {
                            StopWatch watch;
                            StagedAdapters result = session.engine().hot_swap().stage(set);
                            stage_seconds = watch.lap();
                            return result;
                          }).get();
  StopWatch watch;
  const SwapReport report = session.engine().hot_swap().publish(std::move(staged));
  lists.wait.push_back(watch.lap());
  lists.stage.push_back(stage_seconds);
  lists.bytes.push_back(static_cast<double>(report.bytes));
  FluxActivations& a = session.begin();
  for (int i = 0; i < std::min(kStepsBetween, session.request().steps); ++i) session.denoiser().advance(a);
  session.runtime().synchronize();
}

json measure(const BenchOptions& options, const BenchRow& row, json& facts) {
  BenchSession session(options, row);
  facts = bench_facts(options, "bench swap", session.engine().ops(), session.request());
  json result = session.row_json();
  result["restored"] = leaves_no_trace(session);
  const size_t captures = session.denoiser().captures();
  std::mt19937_64 engine(1);
  Lists lists;
  for (int i = 0; i < options.swaps; ++i) {
    const auto rank = static_cast<int64_t>(1 + engine() % kLargestRank);
    swap_once(session, draw_adapter(session.engine().adapter_target(), rank, AdapterLayers::some, engine()), lists);
  }
  result["swaps"] = options.swaps;
  put_list(result, "stage_seconds", lists.stage);
  put_list(result, "wait_seconds", lists.wait);
  put_list(result, "bytes", lists.bytes);
  result["wait_seconds_largest"] = *std::ranges::max_element(lists.wait);
  result["captures"] = session.denoiser().captures() - captures;
  result["slot_bytes"] = session.engine().hot_swap().memory().slot_bytes;
  result["peak_bytes"] = session.runtime().memory().peak_bytes;
  return result;
}

}  // namespace

void run_bench_swap(const BenchOptions& options) {
  BenchReport report(options, kColumns);
  ProgressBar bar;
  bool restored = true;
  for (const bool merged : {false, true}) {
    const BenchRow row{.name = merged ? "merged" : "unmerged",
                       .text = "random ranks to 128 on random layers",
                       .e4m3_attention = true,
                       .merged = merged,
                       .reserved = true};
    bar.show(row.name);
    json facts;
    const json measured = measure(options, row, facts);
    bar.clear();
    report.add(facts, measured);
    restored = restored && measured.at("restored").get<bool>();
  }
  report.finish();
  check(restored, ErrorCode::internal, "swaps left a trace: the velocity without adapters is not what it was");
}

}  // namespace fx::cli
