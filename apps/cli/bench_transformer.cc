// fluxswap bench transformer: milliseconds per step, and where they go.
#include <fmt/format.h>

#include "bench_profile.h"
#include "bench_report.h"
#include "bench_session.h"
#include "pipeline/stop_watch.h"
#include "progress_bar.h"

namespace fx::cli {
namespace {

using nlohmann::json;

const std::vector<BenchColumn> kColumns = {{"name", "row", 21},
                                           {"precision", "type", 5},
                                           {"attention", "attention", 9},
                                           {"replayed_seconds_median", "ms/step, replayed", 17, 3, 1e-3},
                                           {"called_seconds_median", "call by call", 12, 3, 1e-3},
                                           {"prepare_seconds_median", "prepare ms", 10, 3, 1e-3},
                                           {"captures", "captures", 8},
                                           {"peak_bytes", "peak GiB", 8, 2, 1 << 30}};

const std::vector<BenchColumn> kProfileColumns = {{"name", "operation", 62},
                                                  {"calls", "calls", 6},
                                                  {"call_seconds", "us each", 9, 1, 1e-6},
                                                  {"seconds", "ms", 8, 3, 1e-3},
                                                  {"share", "% step", 7, 1, 0.01},
                                                  {"flops", "GFLOP", 9, 1, 1e9},
                                                  {"flops_per_second", "TFLOP/s", 8, 1, 1e12},
                                                  {"bytes", "MB", 8, 1, 1e6},
                                                  {"bytes_per_second", "TB/s", 6, 2, 1e12},
                                                  {"ceiling_share", "% ceiling", 9, 1, 0.01}};

// Seconds per step of whole loops, without a wait between the steps; the first loops do not count.
std::vector<double> time_steps(BenchSession& session, int loops, std::vector<double>* prepare) {
  std::vector<double> seconds;
  for (int i = 0; i < kWarmUps + loops; ++i) {
    StopWatch watch;
    FluxActivations& a = session.begin();
    const double prepared = watch.lap();
    for (int step = 0; step < session.request().steps; ++step) session.denoiser().advance(a);
    session.runtime().synchronize();
    if (i < kWarmUps) continue;
    seconds.push_back(watch.lap() / session.request().steps);
    if (prepare) prepare->push_back(prepared);
  }
  return seconds;
}

json op_json(const OpTotal& total, double all_seconds) {
  const double each = total.seconds / total.calls;
  json row = {{"name", total.cost.name},
              {"calls", total.calls},
              {"call_seconds", each},
              {"seconds", total.seconds},
              {"share", total.seconds / all_seconds},
              {"bytes", total.cost.bytes},
              {"bytes_per_second", total.cost.bytes / each},
              {"ceiling_share", least_seconds(total.cost) / each}};
  if (total.cost.flops > 0) {
    row["flops"] = total.cost.flops;
    row["flops_per_second"] = total.cost.flops / each;
  }
  return row;
}

// The operations of some work, by time.
json profile(BenchSession& session, const std::function<void(const Flux&, Ops&, FluxActivations&)>& work) {
  ProfilingOps ops(session.engine().ops());
  FluxActivations& a = session.begin();
  ops.start();
  work(session.engine().model().flux, ops, a);
  double seconds = 0, least = 0, flops = 0;
  const std::vector<OpTotal> totals = ops.totals();
  for (const OpTotal& total : totals) {
    seconds += total.seconds;
    least += least_seconds(total.cost) * total.calls;
    flops += total.cost.flops * total.calls;
  }
  json rows = json::array();
  for (const OpTotal& total : totals) rows.push_back(op_json(total, seconds));
  json limits;
  for (const CeilingValue& ceiling : ceilings()) {
    limits.push_back({{"per_second", ceiling.per_second}, {"source", ceiling.source}});
  }
  return {{"seconds", seconds}, {"least_seconds", least}, {"flops", flops}, {"operations", rows}, {"ceilings", limits}};
}

void forward(const Flux& flux, Ops& ops, FluxActivations& a) {
  flux.forward(ops, a);
  ops.euler_step({.sample = a.latents, .velocity = a.velocity, .sigmas = a.sigmas, .step = a.step});
  ops.advance_step({.step = a.step});
}

std::string profile_text(const std::string& title, const json& profile) {
  std::string text = "\n" + title + "\n" + table_head(kProfileColumns);
  for (const json& row : profile.at("operations")) text += table_line(kProfileColumns, row);
  const auto seconds = profile.at("seconds").get<double>(), least = profile.at("least_seconds").get<double>();
  text += fmt::format("sum {:.3f} ms, {:.2f} TFLOP; at the ceilings {:.3f} ms ({:.0f} %)\nceilings:\n", 1e3 * seconds,
                      1e-12 * profile.at("flops").get<double>(), 1e3 * least, 100 * least / seconds);
  for (const json& ceiling : profile.at("ceilings")) {
    text += fmt::format("  {:7.1f} T/s  {}\n", 1e-12 * ceiling.at("per_second").get<double>(),
                        ceiling.at("source").get<std::string>());
  }
  return text + "\n";
}

json measure(const BenchOptions& options, const BenchRow& row, json& facts) {
  BenchSession session(options, row);
  facts = bench_facts(options, "bench transformer", session.engine().ops(), session.request());
  session.use(session.adapters(0));
  json result = session.row_json();
  std::vector<double> prepare;
  const bool recorded = session.row().recorded;
  if (recorded) put_list(result, "replayed_seconds", time_steps(session, options.images, &prepare));
  session.denoiser().use_recordings(false);
  put_list(result, "called_seconds", time_steps(session, options.images, recorded ? nullptr : &prepare));
  put_list(result, "prepare_seconds", prepare);
  result["captures"] = session.denoiser().captures();
  result["peak_bytes"] = session.runtime().memory().peak_bytes;
  if (!options.profile) return result;
  result["profile"] = profile(session, forward);
  result["prepare_profile"] = profile(session, [](const Flux& flux, Ops& ops, FluxActivations& a) { flux.prepare(ops, a); });
  return result;
}

}  // namespace

void run_bench_transformer(const BenchOptions& options) {
  BenchReport report(options, kColumns);
  ProgressBar bar;
  for (const std::string& name : options.rows.empty() ? std::vector<std::string>{"fp8-unmerged"} : options.rows) {
    bar.show(name);
    json facts;
    const json row = measure(options, bench_row(name), facts);
    bar.clear();
    report.add(facts, row);
    if (!options.profile) continue;
    report.note(profile_text("one step", row.at("profile")));
    report.note(profile_text("modulation of all steps, once a picture", row.at("prepare_profile")));
  }
  report.finish();
}

}  // namespace fx::cli
