// The whole pipeline against diffusers, transformers and PEFT in float32 on random tiny models of several shapes, on all
// back-ends. Errors are taken on latents minus noise, and for adapters on with minus without: see tools/reference.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "golden/golden_run.h"
#include "models/vae/encoder.h"
#include "nn/bind.h"

namespace fx::test {
namespace {

constexpr double kTolerance = 1e-4;        // of latents, pictures and taps
constexpr double kEmbedsTolerance = 1e-5;  // of prompt embeddings: a wrong GELU in T5 moves them by 2.5e-4 only

using Case = std::tuple<std::string, std::pair<std::string, std::string>>;  // back-end, (model, case)

std::string case_name(const testing::TestParamInfo<Case>& info) {
  const auto& [backend, which] = info.param;
  std::string name = backend + "_" + which.first + "_" + which.second;
  std::ranges::replace_if(
      name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
  return name;
}

// Every tap of the golden file, in the order of execution, so that the first one to fail names the guilty layer.
void expect_taps(const Golden& golden, const Taps& taps) {
  std::set<std::string> compared;
  for (const HostTensor& tap : taps.tensors()) {
    if (!golden.has(tap.name)) continue;
    HostTensor expected = golden.tensor(tap.name);
    if (tap.name.starts_with("vae.")) expected = channels_last(expected);
    std::vector<float> actual = tap.values;
    if (tap.name == "vec") actual.resize(expected.values.size());  // ours has all steps, the golden one the first
    EXPECT_LT(relative_error(actual, expected.values), kTolerance) << "tap " << tap.name;
    compared.insert(tap.name);
  }
  const std::set<std::string> results = {"noise", "latents",  "sigmas", "prompt_embeds",    "pooled_prompt_embeds",
                                         "image", "clip_ids", "t5_ids", "vae.encode.input", "vae.encode.mean"};
  for (const std::string& name : golden.names()) {
    EXPECT_TRUE(results.contains(name) || compared.contains(name)) << "tap " << name << " was never made";
  }
}

class GoldenBase : public BackEndTest<Case> {};

TEST_P(GoldenBase, PictureAndTaps) {
  const auto& [backend, which] = GetParam();
  const Golden golden(case_file(which.first, which.second));
  Engine& engine = engine_for(which.first, backend);
  engine.use_adapters({});
  Request request = request_of(golden);
  Taps taps;
  request.taps = &taps;

  const Model& model = engine.model();
  const Picture picture = engine.pipeline().generate(request);

  if (golden.has("t5_ids")) {
    const auto clip_tokens = static_cast<int>(model.clip_tokens());
    EXPECT_EQ(model.clip_tokenizer->encode(request.prompt, clip_tokens).ids, golden.integers("clip_ids"));
    EXPECT_EQ(model.t5_tokenizer->encode(request.prompt, request.max_sequence_length).ids, golden.integers("t5_ids"));
  }
  const HostTensor noise = golden.tensor("noise");
  EXPECT_EQ(packed_noise(model.configs, picture.request).values, noise.values);
  expect_taps(golden, taps);

  const HostTensor latents = golden.tensor("latents");
  EXPECT_LT(relative_error(minus(picture.latents.values, noise.values), minus(latents.values, noise.values)),
            kTolerance);
  if (golden.has("image")) {
    const HostTensor image = channels_last(golden.tensor("image"));
    EXPECT_LT(relative_error(taps.tensors().back().values, image.values), kTolerance);
  }
}

// Cases that share their prompt with another have no embeddings.
std::vector<std::pair<std::string, std::string>> cases_with_prompt() {
  std::vector<std::pair<std::string, std::string>> cases = golden_cases(false);
  std::erase_if(cases, [](const auto& which) { return !Golden(case_file(which.first, which.second)).has("prompt_embeds"); });
  return cases;
}

class GoldenPrompt : public BackEndTest<Case> {};

TEST_P(GoldenPrompt, Encoded) {
  const auto& [backend, which] = GetParam();
  const Golden golden(case_file(which.first, which.second));
  Engine& engine = engine_for(which.first, backend);
  engine.use_adapters({});
  const Request request = request_of(golden);
  const Conditions c = engine.pipeline().encode(request.prompt, request.max_sequence_length);
  EXPECT_LT(relative_error(c.prompt_embeds.values, golden.tensor("prompt_embeds").values), kEmbedsTolerance);
  EXPECT_LT(relative_error(c.pooled.values, golden.tensor("pooled_prompt_embeds").values), kEmbedsTolerance);
}

class GoldenAdapters : public BackEndTest<Case> {};

TEST_P(GoldenAdapters, EffectOnLatents) {
  const auto& [backend, which] = GetParam();
  const Golden golden(case_file(which.first, which.second));
  const Golden base(case_file(which.first, golden.text("base")));
  Engine& engine = engine_for(which.first, backend);
  const Request request = request_of(golden);

  engine.use_adapters({});
  const std::vector<float> without = engine.pipeline().generate(request).latents.values;
  const AdapterChange change = engine.use_adapters(adapters_of(golden, which.first));
  for (const std::string& warning : change.warnings) {  // every key has its place
    EXPECT_NE(warning.find("text encoders only"), std::string::npos) << warning;
  }
  Conditions c = engine.pipeline().encode(request.prompt, request.max_sequence_length);
  const std::vector<float> with = engine.pipeline().generate(request).latents.values;
  engine.use_adapters({});

  const HostTensor expected = golden.tensor("latents"), noise = golden.tensor("noise");
  const HostTensor expected_without = base.tensor("latents");
  EXPECT_GT(relative_error(expected.values, expected_without.values), 0.01) << "the golden adapter does nothing";
  EXPECT_LT(relative_error(minus(with, noise.values), minus(expected.values, noise.values)), kTolerance);
  EXPECT_LT(relative_error(minus(with, without), minus(expected.values, expected_without.values)), kTolerance);
  if (golden.has("prompt_embeds")) {
    EXPECT_LT(relative_error(c.prompt_embeds.values, golden.tensor("prompt_embeds").values), kEmbedsTolerance);
  }
  if (golden.has("pooled_prompt_embeds")) {
    EXPECT_LT(relative_error(c.pooled.values, golden.tensor("pooled_prompt_embeds").values), kEmbedsTolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, GoldenBase,
                         testing::Combine(testing::ValuesIn(back_ends()), testing::ValuesIn(golden_cases(false))),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Golden, GoldenPrompt,
                         testing::Combine(testing::ValuesIn(back_ends()), testing::ValuesIn(cases_with_prompt())),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Golden, GoldenAdapters,
                         testing::Combine(testing::ValuesIn(back_ends()), testing::ValuesIn(golden_cases(true))),
                         case_name);

// The mean of the VAE encoder's posterior.
class GoldenEncoder : public BackEndTest<std::tuple<std::string, std::string>> {};

TEST_P(GoldenEncoder, Mean) {
  const auto& [backend, model] = GetParam();
  const std::filesystem::path folder = golden_folder() / model / "model" / "vae";
  const Golden golden(case_file(model, "vae"));
  const std::unique_ptr<Ops> ops = ops_named(backend);
  const VaeConfig config = read_vae_config(folder / "config.json");
  ParamStore params(ops->runtime());
  const VaeEncoder encoder(params, config);
  bind_params(*ops, params, *open_sharded(folder, "diffusion_pytorch_model"), vae_name_map(parameter_names(params)), "vae");

  const HostTensor input = channels_last(golden.tensor("vae.encode.input"));
  const HostTensor expected = channels_last(golden.tensor("vae.encode.mean"));
  Arena arena(ops->runtime());
  const Tensor image = arena.f32(input.shape), mean = arena.f32(expected.shape);
  upload(*ops, input.values, image);
  encoder.forward(*ops, image, mean);
  EXPECT_LT(relative_error(download(*ops, mean), expected.values), kTolerance);
}

INSTANTIATE_TEST_SUITE_P(Golden, GoldenEncoder,
                         testing::Combine(testing::ValuesIn(back_ends()),
                                          testing::Values("tiny-dev", "tiny-schnell", "tiny-odd")),
                         [](const auto& info) {
                           std::string name = std::get<0>(info.param) + "_" + std::get<1>(info.param);
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace fx::test
