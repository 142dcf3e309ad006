// The public library: include/fluxswap/fluxswap.h over the engine.
#include "fluxswap/fluxswap.h"

#include <mutex>
#include <utility>

#include "backends/make_ops.h"
#include "core/error.h"
#include "pipeline/engine.h"
#include "pipeline/plan.h"

namespace fluxswap {
namespace {

// Our one exception type crosses the library's border as the user's.
template <class Work>
auto translated(Work work) {
  try {
    return work();
  } catch (const fx::Error& error) { throw Error(error.what()); } catch (const std::bad_alloc&) {
    throw Error("out of memory");
  } catch (const std::exception& error) {  // the operating system's: files, threads
    throw Error(error.what());
  }
}

fx::Request to_internal(const Request& request) {
  fx::Request result;
  result.prompt = request.prompt;
  result.width = request.width;
  result.height = request.height;
  result.steps = request.steps;
  result.guidance = request.guidance;
  result.seed = request.seed;
  result.max_sequence_length = request.max_sequence_length;
  return result;
}

std::vector<fx::AdapterChoice> to_internal(const std::vector<Adapter>& adapters) {
  std::vector<fx::AdapterChoice> choices;
  for (const Adapter& adapter : adapters) {
    fx::AdapterSettings settings{.scale = adapter.scale,
                                 .text_encoder_scale = adapter.text_encoder_scale,
                                 .steps = {adapter.start, adapter.end},
                                 .merge = adapter.merged,
                                 .beside = adapter.beside};
    for (const BlockWeight& block : adapter.blocks) settings.blocks.push_back({block.pattern, block.factor});
    choices.push_back({adapter.file, std::move(settings)});
  }
  return choices;
}

fx::ProgressCallback to_internal(const Progress& progress) {
  return [&progress](const fx::Progress& now) {
    return !progress || now.stage != fx::Stage::denoise || progress(now.step, now.steps);
  };
}

std::unique_ptr<fx::Ops> make_ops(const EngineOptions& options) {
  if (options.device == Device::cpu) return fx::make_cpu_ops(options.threads);
  if (options.device == Device::cuda) return fx::make_cuda_ops();
  try {
    return fx::make_cuda_ops();
  } catch (const fx::Error&) { return fx::make_cpu_ops(options.threads); }  // no GPU
}

std::optional<fx::Precision> to_internal(Precision precision) {
  switch (precision) {
    case Precision::automatic: return std::nullopt;
    case Precision::f32: return fx::Precision::f32;
    case Precision::bf16: return fx::Precision::bf16;
    case Precision::fp8: return fx::Precision::fp8;
  }
  return std::nullopt;
}

fx::Engine open(const EngineOptions& options, std::unique_ptr<fx::Ops> ops) {
  const fx::ModelOptions model = fx::plan_model(fx::read_model_configs(options.model), *ops,
                                                {.precision = to_internal(options.precision),
                                                 .masters = options.merged_adapters,
                                                 .e4m3_attention = options.e4m3_attention,
                                                 .e4m3_modulation = options.e4m3_modulation});
  return fx::Engine(std::move(ops), options.model, model);
}

}  // namespace

struct Engine::State {
  explicit State(const EngineOptions& options) : State(options, make_ops(options)) {}
  State(const EngineOptions& options, std::unique_ptr<fx::Ops> ops) : engine(open(options, std::move(ops))) {}

  Picture finish(fx::Picture made) {
    // With the first picture, as it takes long.
    std::call_once(hashed, [&] { model_hash = fx::model_hash(engine.model().folder); });
    return {.width = made.image.width,
            .height = made.image.height,
            .rgb = std::move(made.image.rgb),
            .latents = std::move(made.latents.values),
            .parameters =
                fx::picture_parameters(made.request, engine.model().configs, model_hash, fx::uses_of(made.adapters)),
            .warnings = std::move(made.warnings),
            .seconds_per_step = made.timings.seconds_per_step};
  }

  fx::Engine engine;
  std::once_flag hashed;
  std::string model_hash;
};

const char* version() { return FLUXSWAP_VERSION; }

void Picture::write_png(const std::filesystem::path& path) const {
  translated([&] { fx::write_png(path, {width, height, rgb}, {{"parameters", parameters}}); });
}

Engine::Engine(const EngineOptions& options) : state_(translated([&] { return std::make_unique<State>(options); })) {}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;

int Engine::size_multiple() const { return static_cast<int>(state_->engine.model().configs.size_multiple()); }

AdapterChange Engine::use_adapters(const std::vector<Adapter>& adapters) {
  return translated([&] {
    fx::AdapterChange change = state_->engine.use_adapters(to_internal(adapters));
    return AdapterChange{change.read_seconds + change.stage_seconds + change.swap.seconds, std::move(change.warnings)};
  });
}

void Engine::prepare_next(const std::vector<Adapter>& adapters, int steps) {
  translated([&] {
    state_->engine.prepare_next(to_internal(adapters), steps > 0 ? std::optional(steps) : std::nullopt);
  });
}

Picture Engine::generate(const Request& request, const Progress& progress) {
  return translated(
      [&] { return state_->finish(state_->engine.generate(to_internal(request), to_internal(progress))); });
}

Picture Engine::generate_with(const std::vector<Adapter>& adapters, const Request& request, const Progress& progress) {
  return translated([&] {
    return state_->finish(
        state_->engine.generate_with(to_internal(adapters), to_internal(request), to_internal(progress)));
  });
}

}  // namespace fluxswap
