#include "session.h"

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <random>

#include "backends/make_ops.h"
#include "console.h"
#include "core/error.h"
#include "core/log.h"
#include "lora/file/read.h"
#include "pipeline/plan.h"
#include "pipeline/stop_watch.h"
#include "text/utf8.h"
#include "usage_error.h"
#include "values.h"

namespace fx::cli {

namespace {

// The limit is for tests of older cards' paths on a newer one.
CudaOptions cuda_options() {
  CudaOptions options;
  if (const char* limit = std::getenv("FLUXSWAP_CAPABILITY_LIMIT")) {
    options.capability_limit = static_cast<int>(parse_int("FLUXSWAP_CAPABILITY_LIMIT", limit, 80, 1000));
  }
  return options;
}

// One that the user has not hidden.
bool has_nvidia_gpu() {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible && (*visible == '\0' || *visible == '-')) return false;
  std::error_code ignored;
  return std::filesystem::exists("/dev/nvidiactl", ignored);
}

// A GPU where there is one. A machine without one, or a build without CUDA, says nothing; a GPU that cannot be used, why.
std::unique_ptr<Ops> make_best_ops(int threads) {
  try {
    return make_cuda_ops(cuda_options());
  } catch (const Error& error) {
    if (has_nvidia_gpu()) log(LogLevel::warning, fmt::format("computing on the cpu, because: {}", error.what()));
  }
  return make_cpu_ops(threads);
}

std::optional<bool> choice(const std::string& word, const std::string& yes) {
  return word == "auto" ? std::nullopt : std::optional(word == yes);
}

// One that does not is never merged, and takes the others along.
bool acts_always(const AdapterChoice& choice) { return choice.settings.steps.whole(); }

WantedModel wanted_model(const EngineOptions& options, const AdapterOptions& adapters) {
  WantedModel wanted{.masters = choice(options.adapter_mode, "merged"),
                     .merging = adapters.merge && std::ranges::all_of(adapters.choices, acts_always),
                     .e4m3_attention = choice(options.attention, "e4m3"),
                     .e4m3_modulation = choice(options.modulation, "e4m3"),
                     .lora_ranks = options.max_rank > 0 ? std::optional<int64_t>(options.max_rank) : std::nullopt};
  for (const Precision precision : {Precision::f32, Precision::bf16, Precision::fp8}) {
    if (options.precision == name(precision)) wanted.precision = precision;
  }
  return wanted;
}

}  // namespace

std::unique_ptr<Ops> make_ops(const EngineOptions& options) {
  if (options.reference) return make_reference_ops();
  if (options.device == "auto") return make_best_ops(options.threads);
  if (options.device == "cpu") return make_cpu_ops(options.threads);
  try {
    return make_cuda_ops(cuda_options());
  } catch (const Error& error) { fail(error.code(), "--device cuda: {}; expected cpu or auto", error.what()); }
}

std::unique_ptr<Engine> open_engine(const EngineOptions& options, const AdapterOptions& adapters, ProgressBar& bar) {
  auto ops = make_ops(options);
  const std::string device = ops->runtime().device_name();
  bar.show(fmt::format("loading {} on {}", options.model.string(), device));
  ModelOptions model = plan_model(read_model_configs(options.model), *ops, wanted_model(options, adapters));
  StopWatch watch;
  model.progress = [&](size_t bytes, size_t total) {
    constexpr double kGB = 1e9;
    bar.show(fmt::format("loading on {}: {:.1f} of {:.1f} GB, {:.1f} GB/s", device, static_cast<double>(bytes) / kGB,
                         static_cast<double>(total) / kGB, static_cast<double>(bytes) / kGB / watch.elapsed()));
  };
  auto engine = std::make_unique<Engine>(std::move(ops), options.model, model);
  if (options.max_rank > 0) engine->reserve_rank(options.max_rank);
  bar.clear();
  return engine;
}

void check_strict(Engine& engine, const AdapterOptions& options, const std::vector<AdapterChoice>& choices) {
  if (!options.strict) return;
  for (const AdapterChoice& choice : choices) require_complete(engine.library().get(choice.file)->report, choice.file);
}

AdapterChange use_adapters(Engine& engine, const AdapterOptions& options, ProgressBar& bar) {
  check_strict(engine, options, options.choices);
  AdapterChange change = engine.use_adapters(options.choices);
  warn_all(change.warnings, bar);
  return change;
}

void check_prompt(const std::string& prompt) {
  try {
    decode_utf8(prompt);
  } catch (const Error& error) { fail(error.code(), "--prompt: {}", error.what()); }
}

Request make_request(const PictureOptions& options, const std::string& prompt, const ModelConfigs& configs) {
  check_prompt(prompt);
  Request request{.prompt = prompt,
                  .width = options.width,
                  .height = options.height,
                  .steps = options.steps,
                  .guidance = options.guidance,
                  .noise = options.noise.value_or(NoiseType::f32),
                  .max_sequence_length = options.max_sequence_length};
  // 32 bits: noise depends on no more.
  request.seed = options.seed ? *options.seed : std::random_device{}();
  try {
    return completed(request, configs);
  } catch (const Error& error) { throw UsageError(error.what()); }
}

void warn_all(const std::vector<std::string>& warnings, ProgressBar& bar) {
  if (!warnings.empty()) bar.clear();
  for (const std::string& warning : warnings) log(LogLevel::warning, one_line(warning));
}

}  // namespace fx::cli
