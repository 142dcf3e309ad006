// The ways in which others hold us against another implementation: --inputs, --save-latents, --taps and debug.
#include "cli_fixture.h"
#include "io/png.h"
#include "support/golden.h"

namespace fx::test {
namespace {

constexpr double kTolerance = 1e-4;  // relative, against diffusers in f32

class CompareTest : public CliTest {
 protected:
  test::Golden golden_{kGolden / "tiny-schnell/base.safetensors"};

  Arguments golden_case(const Arguments& more) const {
    Arguments all = more;
    for (const std::string option : {"width", "height", "steps", "seed"}) {
      const bool given = std::find(more.begin(), more.end(), "--" + option) != more.end();
      if (!given) all.insert(all.end(), {"--" + option, golden_.text(option)});
    }
    return generate(all);
  }
  HostTensor latents(std::string_view file) const { return read_tensors(temp_ / file).at("latents"); }
  void expect_golden(const std::string& name, const HostTensor& tensor) const {
    EXPECT_EQ(tensor.shape, golden_.tensor(name).shape) << name;
    EXPECT_LT(test::relative_error(tensor.values, golden_.tensor(name).values), kTolerance) << name;
  }
};

TEST_F(CompareTest, LatentsAndTapsOfBothBackEnds) {
  for (const bool reference : {false, true}) {
    Arguments more = {"--save-latents", path("latents.safetensors"), "--taps", path("taps.safetensors")};
    if (reference) more.push_back("--reference");
    expect_success(golden_case(more));
    expect_golden("latents", latents("latents.safetensors"));
    const Tensors taps = read_tensors(temp_ / "taps.safetensors");
    for (const char* name : {"img_in", "txt_in", "double_blocks.1.img", "double_blocks.1.txt", "final_layer"}) {
      ASSERT_TRUE(taps.contains(name)) << name;
      expect_golden(name, taps.at(name));
    }
    for (const char* name : {"vec", "single_blocks.0", "single_blocks.1", "vae.decoder"})
      EXPECT_TRUE(taps.contains(name)) << name;
  }
}

TEST_F(CompareTest, GivenInputsReplaceSeedAndPrompt) {
  const std::string encoded = path("encoded.safetensors"), noise = path("noise.safetensors");
  expect_success({"debug", "encode", "--model", model_.string(), "--prompt", "A red star, 35mm",
                  "--max-sequence-length", "24", "--out", encoded});
  expect_golden("prompt_embeds", read_tensors(encoded).at("prompt_embeds"));
  expect_golden("pooled_prompt_embeds", read_tensors(encoded).at("pooled_prompt_embeds"));
  expect_success(golden_case({"--save-latents", path("direct.safetensors")}));
  Tensors inputs = read_tensors(encoded);
  inputs["latents"] = golden_.tensor("noise");
  write_tensors(temp_ / "inputs.safetensors", inputs);
  const auto report = nlohmann::json::parse(expect_success(
      golden_case({"--prompt", "", "--seed", "1", "--inputs", path("inputs.safetensors"), "--save-latents",
                   path("given.safetensors"), "--max-sequence-length", "512", "--json"})));
  EXPECT_EQ(report.at("max_sequence_length"), 24);
  EXPECT_EQ(report.at("inputs").at("used"), "latents + prompt_embeds + pooled_prompt_embeds");
  EXPECT_THAT(read_png(temp_ / "out.png").text.at("parameters"),
              ::testing::EndsWith(", Inputs: latents + prompt_embeds + pooled_prompt_embeds"));
  EXPECT_EQ(latents("direct.safetensors").values, latents("given.safetensors").values);
}

TEST_F(CompareTest, InputsThatDoNotFit) {
  HostTensor wrong = golden_.tensor("noise");
  wrong.shape[1] -= 1;
  wrong.values.resize(static_cast<size_t>(wrong.shape.count()));
  write_tensors(temp_ / "wrong.safetensors", {{"latents", wrong}});
  expect_failure(1, golden_case({"--inputs", path("wrong.safetensors")}),
                 {"latents: expected (1, 35, 64), found (1, 34, 64)"});
  wrong.values[0] = INFINITY;
  write_tensors(temp_ / "wrong.safetensors", {{"latents", wrong}});
  expect_failure(1, golden_case({"--inputs", path("wrong.safetensors")}), {"latents", "finite"});
  expect_failure(1, golden_case({"--inputs", path("nowhere.safetensors")}), {"nowhere.safetensors"});
  write_raw(temp_ / "wrong.safetensors",
            R"({"prompt_embeds": {"dtype": "F32", "shape": [1, 0, 32], "data_offsets": [0, 0]}})", "");
  expect_failure(1, golden_case({"--inputs", path("wrong.safetensors")}),
                 {"prompt_embeds", "found none in (1, 0, 32)"});
  write_tensors(temp_ / "wrong.safetensors", {{"latents", golden_.tensor("noise")}});
  expect_failure(1, golden_case({"--count", "2", "--inputs", path("wrong.safetensors")}), {"--count 2"});
}

TEST_F(CompareTest, UnusedInputsAreOneWarning) {
  const HostTensor one{"", {1}, {1}};
  write_tensors(temp_ / "more.safetensors", {{"a", one}, {"b", one}, {"c", one}});
  const CommandResult result = run_fluxswap(golden_case({"--inputs", path("more.safetensors")}));
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.error_lines(), 1u) << result.err;
  EXPECT_THAT(result.err, ::testing::HasSubstr("not used: a and 2 more tensors"));
}

TEST_F(CompareTest, WrittenTensorsAreReportedAsJson) {
  auto json = nlohmann::json::parse(expect_success(
      {"debug", "noise", "--seed", "3", "--shape", "1,2,3", "--out", path("noise.safetensors"), "--json"}));
  EXPECT_EQ(json.at("output"), path("noise.safetensors"));
  EXPECT_EQ(json.at("tensors").at("noise"), nlohmann::json::parse("[1, 2, 3]"));
  json = nlohmann::json::parse(
      expect_success({"debug", "encode", "--model", model_.string(), "--prompt", "A red star", "--max-sequence-length",
                      "24", "--out", path("encoded.safetensors"), "--json"}));
  EXPECT_EQ(json.at("tensors").at("prompt_embeds").at(1), 24);
  Tensors inputs = read_tensors(temp_ / "encoded.safetensors");
  inputs["latents"] = golden_.tensor("noise");
  inputs["timestep"] = {"timestep", {1}, {1}};
  write_tensors(temp_ / "inputs.safetensors", inputs);
  json = nlohmann::json::parse(
      expect_success({"debug", "transformer", "--model", model_.string(), "--inputs", path("inputs.safetensors"),
                      "--out", path("sample.safetensors"), "--width", golden_.text("width"), "--height",
                      golden_.text("height"), "--taps", path("taps.safetensors"), "--json"}));
  EXPECT_EQ(json.at("tensors").at("sample"), nlohmann::json::parse("[1, 35, 64]"));
  EXPECT_EQ(json.at("taps"), path("taps.safetensors"));
  json = nlohmann::json::parse(expect_success(
      {"lora", "convert", lora_.string(), path("lora.safetensors"), "--model", model_.string(), "--json"}));
  const Tensors written = read_tensors(temp_ / "lora.safetensors");
  ASSERT_EQ(json.at("tensors").size(), written.size());
  for (const auto& [name, tensor] : written) {
    EXPECT_EQ(json.at("tensors").at(name), nlohmann::json({tensor.shape[0], tensor.shape[1]})) << name;
  }
}

TEST_F(CompareTest, TransformerForwardIsTheFirstStep) {
  Tensors inputs = {{"latents", golden_.tensor("noise")},
                    {"prompt_embeds", golden_.tensor("prompt_embeds")},
                    {"pooled_prompt_embeds", golden_.tensor("pooled_prompt_embeds")},
                    {"timestep", {"timestep", {1}, {golden_.tensor("sigmas").values[0]}}}};
  const Arguments command = {"debug",    "transformer",
                             "--model",  model_.string(),
                             "--inputs", path("inputs.safetensors"),
                             "--out",    path("sample.safetensors"),
                             "--width",  golden_.text("width"),
                             "--height", golden_.text("height")};
  write_tensors(temp_ / "inputs.safetensors", inputs);
  Arguments tapped = command;
  tapped.insert(tapped.end(), {"--taps", path("taps.safetensors")});
  expect_success(tapped);
  const HostTensor sample = read_tensors(temp_ / "sample.safetensors").at("sample");
  EXPECT_LT(test::relative_error(sample.values, golden_.tensor("final_layer").values), kTolerance);
  EXPECT_EQ(read_tensors(temp_ / "taps.safetensors").at("final_layer").values, sample.values);

  // Two pictures, at one timestep and at two.
  for (auto* name : {"latents", "prompt_embeds", "pooled_prompt_embeds"}) {
    HostTensor& tensor = inputs.at(name);
    tensor.shape[0] = 2;
    tensor.values.insert(tensor.values.end(), tensor.values.begin(),
                         tensor.values.begin() + static_cast<int64_t>(tensor.values.size()));
  }
  for (const float second : {golden_.tensor("sigmas").values[0], 0.5f}) {
    inputs["timestep"] = {"timestep", {2}, {golden_.tensor("sigmas").values[0], second}};
    write_tensors(temp_ / "inputs.safetensors", inputs);
    expect_success(command);
    HostTensor both = read_tensors(temp_ / "sample.safetensors").at("sample");
    EXPECT_EQ(both.shape, Shape({2, 35, 64}));
    both.values.resize(sample.values.size());
    EXPECT_LT(test::relative_error(both.values, sample.values), 1e-6);
  }
}

TEST_F(CompareTest, TransformerSaysWhatItNeeds) {
  write_tensors(temp_ / "inputs.safetensors", {{"latents", golden_.tensor("noise")}});
  const Arguments command = {"debug",    "transformer",
                             "--model",  model_.string(),
                             "--inputs", path("inputs.safetensors"),
                             "--out",    path("sample.safetensors")};
  expect_failure(1, command, {"prompt_embeds is missing"});
  write_tensors(temp_ / "inputs.safetensors", {{"latents", golden_.tensor("noise")},
                                               {"prompt_embeds", golden_.tensor("prompt_embeds")},
                                               {"pooled_prompt_embeds", golden_.tensor("pooled_prompt_embeds")},
                                               {"timestep", {"timestep", {1}, {1}}}});
  expect_failure(1, command, {"35 tokens", "--width and --height"});
}

TEST_F(CompareTest, TokensSigmasAndNoise) {
  auto json = nlohmann::json::parse(expect_success({"debug", "tokens", "--model", model_.string(), "--prompt",
                                                    "A red star, 35mm", "--max-sequence-length", "24", "--json"}));
  EXPECT_EQ(json.at("clip").at("ids").get<std::vector<int32_t>>(), golden_.integers("clip_ids"));
  EXPECT_EQ(json.at("t5").at("ids").get<std::vector<int32_t>>(), golden_.integers("t5_ids"));

  json = nlohmann::json::parse(expect_success(
      {"debug", "sigmas", "--model", model_.string(), "--width", "56", "--height", "40", "--steps", "4", "--json"}));
  const auto sigmas = json.at("sigmas").get<std::vector<float>>();
  EXPECT_LT(test::relative_error(sigmas, golden_.tensor("sigmas").values), 1e-6);

  expect_success(
      {"debug", "noise", "--seed", golden_.text("seed"), "--shape", "1,16,10,14", "--out", path("noise.safetensors")});
  const HostTensor noise = read_tensors(temp_ / "noise.safetensors").at("noise");
  EXPECT_EQ(noise.shape, Shape({1, 16, 10, 14}));
  EXPECT_EQ(noise.values[0], golden_.tensor("noise").values[0]);
}

TEST_F(CompareTest, LongPromptsAreCutWithAWarning) {
  std::string prompt = "A red star";
  for (int i = 0; i < 40; ++i) prompt += " and a red star";
  const CommandResult result = run_fluxswap(generate({"--prompt", prompt}));
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.error_lines(), 2u);  // one of each tokenizer
  EXPECT_THAT(result.err, ::testing::StartsWith("fluxswap: warning: the prompt is longer than"));
}

}  // namespace
}  // namespace fx::test
