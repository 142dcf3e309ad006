// The graph-safety contract, proven on a CPU: the calls of one step, recorded with their operand addresses, give at every
// other step, prompt, seed and adapter what direct execution gives, bitwise.
#include <gtest/gtest.h>

#include "golden/golden_run.h"
#include "ops/recording_ops.h"

namespace fx::test {
namespace {

constexpr const char* kModel = "tiny-dev";

struct Scene {
  std::string prompt;
  uint64_t seed;
  double guidance;
  std::vector<AdapterChoice> adapters;
};

AdapterChoice adapter(const std::string& name, float scale) {
  return {golden_folder() / kModel / "loras" / (name + ".safetensors"), scale};
}

class Replay : public BackEndTest<std::string> {
 protected:
  Engine& engine() { return engine_for(kModel, GetParam()); }

  // Fills the inputs of all steps for a scene; the denoiser's activations keep their addresses.
  FluxActivations& begin(Denoiser& denoiser, const Scene& scene) {
    engine().use_adapters(scene.adapters);
    const ModelConfigs& configs = engine().model().configs;
    Request request{.prompt = scene.prompt, .width = 64, .height = 96, .steps = 3, .guidance = scene.guidance};
    request.seed = scene.seed;
    request.max_sequence_length = 16;
    const Conditions conditions = engine().pipeline().encode(scene.prompt, 16);
    FluxActivations& a = denoiser.activations({.batch = 1, .txt_tokens = 16, .rows = 6, .columns = 4, .steps = 3});
    const auto sigmas = flow_match_sigmas(configs.scheduler, 3, a.sizes.img_tokens());
    denoiser.begin(a, [&] { return packed_noise(configs, request).values; }, conditions, sigmas,
                   flow_match_timesteps(configs.scheduler, sigmas), scene.guidance, nullptr);
    return a;
  }

  std::vector<float> direct(const Scene& scene) {
    Denoiser denoiser(engine().ops(), engine().model().flux);
    FluxActivations& a = begin(denoiser, scene);
    for (int i = 0; i < 3; ++i) denoiser.step(a);
    return download(engine().ops(), a.latents);
  }
};

TEST_P(Replay, EqualsDirectExecutionForOtherStepsPromptsSeedsAndAdapters) {
  const Scene first{"a red star", 1, 3.5, {adapter("attention", 1.0f)}};
  const std::vector<Scene> others = {
      first,
      {"two blue circles on a green ground", 2, 1.0, {}},
      {"a red star", 3, 3.5, {adapter("all-linears", 0.5f)}},
      {"", 4, 7.0, {adapter("attention", -1.0f), adapter("single", 0.7f)}},
      first,
  };
  std::vector<std::vector<AdapterChoice>> sets;
  for (const Scene& scene : others) sets.push_back(scene.adapters);
  engine().prepare_adapters(sets);
  const uint64_t generation = engine().hot_swap().generation();

  RecordingOps recorder(engine().ops());
  Denoiser denoiser(recorder, engine().model().flux);
  FluxActivations& a = begin(denoiser, first);
  recorder.start_recording();
  denoiser.step(a);
  recorder.stop_recording();
  EXPECT_GT(recorder.recorded_calls(), 20u);

  std::vector<std::vector<float>> results;
  for (const Scene& scene : others) {
    begin(denoiser, scene);
    for (int i = 0; i < 3; ++i) recorder.replay();
    results.push_back(download(engine().ops(), a.latents));
    EXPECT_EQ(results.back(), direct(scene)) << "prompt \"" << scene.prompt << "\", seed " << scene.seed;
  }
  EXPECT_EQ(results.front(), results.back());
  for (size_t i = 1; i + 1 < results.size(); ++i) EXPECT_NE(results[i], results[0]);
  EXPECT_EQ(engine().hot_swap().generation(), generation) << "an adapter change within the reserved room moved memory";
  engine().use_adapters({});
}

std::vector<std::string> all_ways() {
  std::vector<std::string> ways = model_ways();
  std::erase(ways, "cpu-captured");  // would record the recorder
  ways.emplace_back("reference");
  return ways;
}

// Folded adapters, and two sets of merged weights, have two arrangements, of which a recording knows one: Captured covers
// them. One set has one.
std::vector<std::string> replayable_ways() {
  std::vector<std::string> ways = all_ways();
  std::erase_if(ways, [](const std::string& way) { return way_has(way, "folded"); });
  for (std::string& way : ways) {
    if (way_has(way, "merged")) way += "-one-set";
  }
  return ways;
}

INSTANTIATE_TEST_SUITE_P(Ways, Replay, testing::ValuesIn(replayable_ways()), way_name);

}  // namespace
}  // namespace fx::test
