#include "session.h"

#include <random>

#include "backends/make_ops.h"
#include "console.h"
#include "core/error.h"
#include "core/log.h"
#include "lora/file/read.h"
#include "text/utf8.h"
#include "usage_error.h"

namespace fx::cli {

namespace {

std::unique_ptr<Ops> make_cuda() {
  auto ops = make_cuda_ops();
  log(LogLevel::warning,
      ops->runtime().device_name() + ": the CUDA back-end is under construction and not yet verified; --device cpu is");
  return ops;
}

}  // namespace

// `auto` is the CPU until the CUDA back-end has been verified: a picture that may be wrong is for those who ask for it.
std::unique_ptr<Ops> make_ops(const EngineOptions& options) {
  check(options.precision == "auto" || options.precision == "f32", ErrorCode::unsupported,
        "--precision {}: the back-ends of this build compute in f32; expected f32 or auto", options.precision);
  if (options.reference) return make_reference_ops();
  if (options.device != "cuda") return make_cpu_ops(options.threads);
  try {
    return make_cuda();
  } catch (const Error& error) { fail(error.code(), "--device cuda: {}; expected cpu or auto", error.what()); }
}

std::unique_ptr<Engine> open_engine(const EngineOptions& options, ProgressBar& bar) {
  auto ops = make_ops(options);
  bar.show("loading " + options.model.string());
  return std::make_unique<Engine>(std::move(ops), options.model);
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
