// The public library: include/fluxswap/fluxswap.h over the engine.
#include "fluxswap/fluxswap.h"

#include <utility>

#include "backends/make_ops.h"
#include "core/error.h"
#include "pipeline/engine.h"

namespace fluxswap {
namespace {

// Our one exception type crosses the library's border as the user's.
template <class Work>
auto translated(Work work) {
  try {
    return work();
  } catch (const fx::Error& error) {
    throw Error(error.what());
  } catch (const std::bad_alloc&) {
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

}  // namespace

struct Engine::State {
  explicit State(const EngineOptions& options) : engine(fx::make_cpu_ops(options.threads), options.model) {}
  fx::Engine engine;
  std::string model_hash;  // read once, with the first picture
};

const char* version() { return FLUXSWAP_VERSION; }

void Picture::write_png(const std::filesystem::path& path) const {
  translated([&] { fx::write_png(path, {width, height, rgb}, {{"parameters", parameters}}); });
}

Engine::Engine(const EngineOptions& options)
    : state_(translated([&] { return std::make_unique<State>(options); })) {}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;

int Engine::size_multiple() const { return static_cast<int>(state_->engine.model().configs.size_multiple()); }

AdapterChange Engine::use_adapters(const std::vector<Adapter>& adapters) {
  return translated([&] {
    std::vector<fx::AdapterChoice> choices;
    for (const Adapter& adapter : adapters) choices.push_back({adapter.file, {.scale = adapter.scale}});
    fx::AdapterChange change = state_->engine.use_adapters(choices);
    return AdapterChange{change.read_seconds + change.swap.seconds, std::move(change.warnings)};
  });
}

Picture Engine::generate(const Request& request, const Progress& progress) {
  return translated([&] {
    fx::Engine& engine = state_->engine;
    const auto on_progress = [&](const fx::Progress& now) {
      return !progress || now.stage != fx::Stage::denoise || progress(now.step, now.steps);
    };
    fx::Picture made = engine.generate(to_internal(request), on_progress);
    if (state_->model_hash.empty()) state_->model_hash = fx::model_hash(engine.model().folder);
    return Picture{.width = made.image.width,
                   .height = made.image.height,
                   .rgb = std::move(made.image.rgb),
                   .latents = std::move(made.latents.values),
                   .parameters = fx::picture_parameters(made.request, engine.model().configs, state_->model_hash,
                                                        engine.adapter_uses()),
                   .warnings = std::move(made.warnings),
                   .seconds_per_step = made.timings.seconds_per_step};
  });
}

}  // namespace fluxswap
