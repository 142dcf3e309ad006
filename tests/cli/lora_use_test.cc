// Adapters as users name them: tags, folders, settings.
#include "cli_fixture.h"
#include "io/png.h"

namespace fx::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class LoraUseTest : public CliTest {
 protected:
  void SetUp() override {
    fs::create_directories(temp_ / "loras/styles");
    fs::copy_file(lora_, temp_ / "loras/styles/Ink.safetensors");
    fs::copy_file(kGolden / "tiny-schnell/loras/all-linears.safetensors", temp_ / "loras/neon.safetensors");
  }
  const std::string folder_ = path("loras"), ink_ = path("loras/styles/Ink.safetensors"),
                    neon_ = path("loras/neon.safetensors");

  std::vector<float> latents(const std::string& prompt, const Arguments& more = {}) {
    Arguments all = {"--prompt", prompt, "--save-latents", path("latents.safetensors")};
    all.insert(all.end(), more.begin(), more.end());
    const CommandResult result = run_fluxswap(generate(all));
    EXPECT_EQ(result.status, 0) << result.err;
    return read_tensors(temp_ / "latents.safetensors").at("latents").values;
  }
  // Of CLIP, and nothing else.
  std::string text_adapter() const {
    const std::string module = "text_model.encoder.layers.0.self_attn.q_proj";
    const int64_t hidden = read_tensors(model_ / "text_encoder/model.safetensors").at(module + ".weight").shape[0];
    const std::vector<float> values(static_cast<size_t>(hidden), 0.5f);
    write_tensors(
        temp_ / "text.safetensors",
        {{"lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", {"a", {1, hidden}, values}},
         {"lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight", {"b", {hidden, 1}, values}}});
    return path("text.safetensors");
  }
  std::string picture_text() { return read_png(temp_ / "out.png").text.at("parameters"); }
};

TEST_F(LoraUseTest, ATagIsTheAdapter) {
  const auto expected = latents("a fox in the snow", {"--lora", ink_ + ":0.5"});
  EXPECT_NE(latents("a fox in the snow"), expected);
  EXPECT_EQ(latents("a fox <lora:ink:0.5> in the snow", {"--lora-dir", folder_}), expected);
  EXPECT_THAT(picture_text(), ::testing::StartsWith("a fox in the snow <lora:Ink:0.5>\n"));
  EXPECT_THAT(picture_text(), HasSubstr("Lora hashes: \"Ink: "));
  EXPECT_EQ(latents("a fox in the snow", {"--lora", "styles/ink:0.5", "--lora-dir", folder_}), expected);
}

TEST_F(LoraUseTest, TagsAndOptionsActTogether) {
  const auto expected = latents("a fox", {"--lora", ink_ + ":0.5", "--lora", neon_ + ":0.25:0.75"});
  EXPECT_EQ(latents("<lora:ink:0.5>a fox<lora:neon:0.75:0.25>", {"--lora-dir", folder_}), expected);
  EXPECT_EQ(latents("a fox <lora:neon:0.75:0.25>", {"--lora", ink_ + ":0.5", "--lora-dir", folder_}), expected);
  // A tag of an adapter that --lora has given it other scales, also without a folder.
  EXPECT_EQ(latents("a fox <lora:neon:0.75:0.25>", {"--lora", ink_ + ":0.5", "--lora", neon_}), expected);
}

TEST_F(LoraUseTest, WhatIsUnknownOrMalformed) {
  const auto tagged = [&](const std::string& tag) {
    return generate({"--prompt", "a fox " + tag, "--lora-dir", folder_});
  };
  expect_failure(1, tagged("<lora:inkk:1>"), {"<lora:inkk:1>", "near matches: 'styles/Ink'"});
  expect_failure(1, tagged("<lora:ink:x>"), {"<lora:ink:x>", "finite number"});
  expect_failure(1, tagged("<lora:ink"), {"'>'"});
  expect_failure(2, generate({"--lora", "neom", "--lora-dir", folder_}), {"--lora neom", "near matches: 'neon'"});
  expect_failure(1, generate({"--lora-dir", path("nowhere")}), {"nowhere"});
  expect_failure(1, generate({"--prompt", "a <lora:ink:1>"}), {"--lora-dir"});
  fs::copy_file(ink_, temp_ / "loras/ink.safetensors");
  expect_success(tagged("<lora:ink:1>"));  // the one of that very name
}

TEST_F(LoraUseTest, SettingsMatter) {
  const auto plain = latents("a fox", {"--lora", neon_});
  EXPECT_EQ(latents("a fox", {"--lora", neon_ + ":1:1@0-1~*=1"}), plain);
  EXPECT_EQ(latents("a fox", {"--lora", neon_ + "@0-0"}), latents("a fox"));
  EXPECT_NE(latents("a fox", {"--lora", neon_ + "@0-0.5"}), plain);
  EXPECT_NE(latents("a fox", {"--lora", neon_ + "~double_blocks.*=0"}), plain);
  const std::string text = text_adapter();
  EXPECT_NE(latents("a fox", {"--lora", text}), latents("a fox"));
  EXPECT_EQ(latents("a fox", {"--lora", text + ":1:0"}), latents("a fox"));
  EXPECT_EQ(latents("a fox", {"--lora", text + ":0:1"}), latents("a fox", {"--lora", text}));
  const auto merged = latents("a fox", {"--lora", neon_, "--merge"});
  ASSERT_EQ(merged.size(), plain.size());
  double largest = 0;
  for (size_t i = 0; i < plain.size(); ++i) largest = std::max(largest, std::abs(double{merged[i]} - plain[i]));
  EXPECT_LT(largest, 1e-4);
  EXPECT_EQ(latents("a fox", {"--lora", neon_, "--no-merge"}), plain) << "as without a GPU";
  expect_failure(1, generate({"--lora", neon_, "--merge", "--no-merge"}), {"found both"});
}

TEST_F(LoraUseTest, JsonTellsSettingsAndLibrary) {
  const auto json = nlohmann::json::parse(
      expect_success(generate({"--lora", neon_ + ":0.5:0.25@0-0.5~img_in=2", "--lora", ink_, "--json"})));
  const auto& neon = json.at("adapters").at(0);
  EXPECT_EQ(neon.at("scale"), 0.5);
  EXPECT_EQ(neon.at("text_encoder_scale"), 0.25);
  EXPECT_EQ(neon.at("steps"), (nlohmann::json{0.0, 0.5}));
  EXPECT_EQ(neon.at("blocks").at(0).at("pattern"), "img_in");
  EXPECT_FALSE(json.at("adapters").at(1).contains("text_encoder_scale"));
  EXPECT_EQ(json.at("library").at("misses"), 2);
}

TEST_F(LoraUseTest, GridTakesTagsToo) {
  const auto json = nlohmann::json::parse(expect_success({"grid",
                                                          "--model",
                                                          model_.string(),
                                                          "--max-sequence-length",
                                                          "24",
                                                          "--width",
                                                          "40",
                                                          "--height",
                                                          "40",
                                                          "--steps",
                                                          "2",
                                                          "--seed",
                                                          "7",
                                                          "--out",
                                                          path("sheet.png"),
                                                          "--prompt",
                                                          "a fox <lora:neon:0.5>",
                                                          "b",
                                                          "--lora",
                                                          "ink:0.5",
                                                          "--lora-dir",
                                                          folder_,
                                                          "--json"}));
  EXPECT_EQ(json.at("images").size(), 4u);
  EXPECT_EQ(json.at("prompts").at(0), "a fox <lora:neon:0.5>");
  EXPECT_EQ(json.at("columns").at(0).size(), 0u);
  EXPECT_EQ(json.at("columns").at(1).size(), 1u);
  const auto& library = json.at("library");
  EXPECT_EQ(library.at("adapters"), 2);
  EXPECT_EQ(library.at("misses").get<int>() + library.at("preloads").get<int>(), 2);
  EXPECT_EQ(library.at("swaps"), 4);
}

TEST_F(LoraUseTest, StrictRefusesAPartialMatch) {
  Tensors tensors = read_tensors(lora_);
  const HostTensor any = tensors.begin()->second;
  tensors.emplace("transformer.stray.lora_A.weight", any);
  tensors.emplace("transformer.stray.lora_B.weight", any);
  write_tensors(temp_ / "loras/part.safetensors", tensors);
  const CommandResult lenient = run_fluxswap(generate({"--lora", path("loras/part.safetensors")}));
  EXPECT_EQ(lenient.status, 0);
  EXPECT_THAT(lenient.err, HasSubstr("warning"));
  fs::remove(temp_ / "out.png");
  expect_failure(1, generate({"--lora", path("loras/part.safetensors"), "--strict"}), {"stray"});
  expect_failure(1, generate({"--prompt", "<lora:part>", "--lora-dir", folder_, "--strict"}), {"stray"});
}

}  // namespace
}  // namespace fx::test
