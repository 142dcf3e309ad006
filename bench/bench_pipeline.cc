// The whole pipeline in one fresh process, measured as tools/reference/cpu_bench.py measures diffusers: process start to
// first step, seconds per step, decoding, peak memory. Prints one JSON object.
//   bench_pipeline MODEL [--width W] [--height H] [--steps N] [--threads T] [--max-sequence-length L] [--lora FILE]...
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "backends/make_ops.h"
#include "core/error.h"
#include "pipeline/engine.h"

namespace {

double now() {
  timespec time;
  clock_gettime(CLOCK_BOOTTIME, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Start of this process on the same clock, with the kernel's resolution of 10 ms.
double process_start() {
  std::ifstream file("/proc/self/stat");
  std::string text(std::istreambuf_iterator<char>(file), {});
  std::istringstream fields(text.substr(text.rfind(')') + 2));
  std::string field;
  for (int i = 0; i < 20; ++i) fields >> field;  // field 22 of the file: start time
  return std::stod(field) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double peak_rss_mib() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("VmHWM:")) return std::stod(line.substr(6)) / 1024.0;
  }
  return 0;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

struct Options {
  std::string model;
  fx::Request request;
  int threads = 2, warmup = 1;
  std::vector<std::string> loras;
};

nlohmann::json measure(const Options& options) {
  const double begin = process_start();
  fx::Engine engine(fx::make_cpu_ops(options.threads), options.model);
  const double loaded = now();
  std::vector<fx::AdapterChoice> adapters;
  for (const std::string& file : options.loras) adapters.push_back({file});
  engine.use_adapters(adapters);

  std::vector<double> marks;  // the start of the first step, then the end of each
  double decoding = 0;
  engine.generate(options.request, [&](const fx::Progress& progress) {
    if (progress.stage == fx::Stage::denoise) marks.push_back(now());
    if (progress.stage == fx::Stage::decode) decoding = now();
    return true;
  });
  const double done = now();
  std::vector<double> steps;
  for (size_t i = 1; i < marks.size(); ++i) steps.push_back(marks[i] - marks[i - 1]);
  return {{"model", options.model},
          {"threads", options.threads},
          {"width", options.request.width},
          {"height", options.request.height},
          {"steps", options.request.steps},
          {"start_to_first_step_s", marks[0] - begin},
          {"load_s", loaded - begin},
          {"encode_s", marks[0] - loaded},
          {"step_s_median", median({steps.begin() + options.warmup, steps.end()})},
          {"decode_s", done - decoding},
          {"total_s", done - begin},
          {"peak_rss_mib", peak_rss_mib()}};
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  options.request.width = options.request.height = 512;
  options.request.steps = 6;
  options.request.prompt = "a small red star left of a large blue circle on a yellow background";
  CLI::App app("Times the whole pipeline on the CPU");
  app.add_option("model", options.model, "diffusers folder")->required();
  app.add_option("--width", options.request.width);
  app.add_option("--height", options.request.height);
  app.add_option("--steps", options.request.steps)->check(CLI::Range(2, 1000));
  app.add_option("--threads", options.threads);
  app.add_option("--max-sequence-length", options.request.max_sequence_length);
  app.add_option("--lora", options.loras);
  CLI11_PARSE(app, argc, argv);
  try {
    std::cout << measure(options).dump(1) << "\n";
  } catch (const fx::Error& error) {
    std::cerr << "bench_pipeline: " << error.what() << "\n";
    return 1;
  }
}
