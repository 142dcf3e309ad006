// fluxswap bench load: from the start of the process to the first picture.
#include <unistd.h>

#include <ctime>
#include <fstream>
#include <sstream>

#include "bench_report.h"
#include "bench_session.h"
#include "core/error.h"
#include "progress_bar.h"

namespace fx::cli {
namespace {

using nlohmann::json;

const std::vector<BenchColumn> kColumns = {{"precision", "type", 5},
                                           {"file_bytes", "GB", 7, 2, 1e9},
                                           {"load_seconds", "load s", 8, 2},
                                           {"bytes_per_second", "GB/s", 6, 2, 1e9},
                                           {"first_step_seconds", "first step s", 12, 2},
                                           {"first_picture_seconds", "first picture s", 15, 2},
                                           {"second_picture_seconds", "second picture s", 16, 3},
                                           {"peak_bytes", "peak GiB", 8, 2, 1 << 30}};

// Seconds since the process was started, to the hundredth, as the kernel counts: what came before main is in it.
double process_age() {
  std::ifstream file("/proc/self/stat");
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const size_t name_end = text.rfind(')');  // the name may have spaces
  check(name_end != std::string::npos, ErrorCode::device, "/proc/self/stat cannot be read");
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  constexpr int kStartTime = 22, kAfterName = 3;  // numbers of fields, as in proc(5)
  for (int i = kAfterName; i <= kStartTime; ++i) fields >> field;
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  const double started = std::stod(field) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) - started;
}

json measure(const BenchOptions& options, json& facts) {
  BenchSession session(options, bench_row("fp8-no-adapter"));
  facts = bench_facts(options, "bench load", session.engine().ops(), session.request());
  json result = session.row_json();
  const double load = session.load_seconds();
  result["load_seconds"] = load;
  if (const size_t bytes = session.engine().model().loaded_bytes(); bytes > 0) {
    result["file_bytes"] = bytes;
    result["bytes_per_second"] = static_cast<double>(bytes) / load;
  }
  session.make_picture([&](const Progress& progress) {
    if (progress.step == 1) result["first_step_seconds"] = process_age();
    return true;
  });
  result["first_picture_seconds"] = process_age();
  result["second_picture_seconds"] = session.make_picture().total;
  result["peak_bytes"] = session.runtime().memory().peak_bytes;
  return result;
}

}  // namespace

void run_bench_load(const BenchOptions& options) {
  BenchReport report(options, kColumns);
  ProgressBar bar;
  bar.show("loading");
  json facts;
  const json row = measure(options, facts);
  bar.clear();
  report.add(facts, row);
  report.finish();
}

}  // namespace fx::cli
