#include "session.h"

#include <random>

#include "backends/make_ops.h"
#include "console.h"
#include "core/error.h"
#include "core/log.h"
#include "text/utf8.h"
#include "usage_error.h"

namespace fx::cli {

std::unique_ptr<Ops> make_ops(const EngineOptions& options) {
  check(options.device != "cuda", ErrorCode::unsupported,
        "--device cuda: this build has no CUDA back-end; expected cpu or auto");
  check(options.precision == "auto" || options.precision == "f32", ErrorCode::unsupported,
        "--precision {}: the CPU back-end computes in f32; expected f32 or auto", options.precision);
  return options.reference ? make_reference_ops() : make_cpu_ops(options.threads);
}

namespace {

}  // namespace

std::unique_ptr<Engine> open_engine(const EngineOptions& options, ProgressBar& bar) {
  auto ops = make_ops(options);
  bar.show("loading " + options.model.string());
  return std::make_unique<Engine>(std::move(ops), options.model);
}

AdapterChange use_adapters(Engine& engine, const std::vector<AdapterChoice>& adapters, ProgressBar& bar) {
  AdapterChange change = engine.use_adapters(adapters);
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

void check_adapters_exist(const std::vector<AdapterChoice>& adapters) {
  for (const AdapterChoice& adapter : adapters) {
    std::error_code ignored;
    check(std::filesystem::exists(adapter.file, ignored), ErrorCode::bad_file, "--lora {}: no such file",
          adapter.file.string());
  }
}

void warn_all(const std::vector<std::string>& warnings, ProgressBar& bar) {
  if (!warnings.empty()) bar.clear();
  for (const std::string& warning : warnings) log(LogLevel::warning, one_line(warning));
}

std::string describe_adapters(const std::vector<AdapterChoice>& adapters) {
  std::string text;
  for (const AdapterChoice& adapter : adapters) {
    text += (text.empty() ? "" : " + ") + adapter.file.stem().string();
    if (adapter.settings.scale != 1.0f) text += fmt::format(":{}", adapter.settings.scale);
  }
  return text.empty() ? "none" : text;
}

}  // namespace fx::cli
