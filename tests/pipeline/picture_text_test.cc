// The "parameters" text is what stable-diffusion-webui can read back.
#include "pipeline/picture_text.h"

#include <gtest/gtest.h>

namespace fx {
namespace {

TEST(PictureText, WebuiNotation) {
  ModelConfigs configs;
  configs.name = "demo";
  Request request{.prompt = "a red star", .width = 256, .height = 128, .steps = 20, .guidance = 3.5};
  request.seed = 7;
  EXPECT_EQ(picture_parameters(request, configs, "0123456789", {{"ink", {0.8f}, "abcdef0123"}, {"b", {-1.0f}, "1111111111"}}),
            "a red star <lora:ink:0.8> <lora:b:-1>\n"
            "Steps: 20, Sampler: Euler, Schedule type: Simple, CFG scale: 1, Distilled CFG Scale: 3.5, Seed: 7, Size: 256x128, "
            "Model hash: 0123456789, Model: demo, Lora hashes: \"ink: abcdef0123, b: 1111111111\", Noise: f32, Version: fluxswap");
}

TEST(PictureText, TextEncodersFirst) {
  const AdapterSettings settings{.scale = 0.75f, .text_encoder_scale = 0.25f};
  const std::string text = picture_parameters({.prompt = "p"}, {}, "", {{"ink", settings, "abcdef0123"}});
  EXPECT_TRUE(text.starts_with("p <lora:ink:0.25:0.75>\n")) << text;
}

// What webui has no notation for is there all the same: without it nobody could make the picture again.
TEST(PictureText, TellsWhereAndWhenAdaptersAct) {
  const AdapterSettings ranged{.steps = {0.0, 0.6}, .blocks = {{"double_blocks.*", 0.5f}, {"*qkv", 0.0f}}};
  const std::string text = picture_parameters({.prompt = "p"}, {}, "", {{"ink", ranged, "a"}, {"b", {.merge = true}, "b"}, {"c", {.beside = true}, "c"}});
  EXPECT_NE(text.find("Lora settings: \"ink@0-0.6~double_blocks.*=0.5,*qkv=0, b merged, c beside\""), std::string::npos) << text;
  EXPECT_EQ(picture_parameters({.prompt = "p"}, {}, "", {{"ink", {0.5f}, "a"}}).find("Lora settings"), std::string::npos);
}

TEST(PictureText, QuotesWhatWouldBreakTheLine) {
  ModelConfigs configs;
  configs.name = "my, model: \"x\"";
  configs.flux.guidance_embed = false;
  const std::string text = picture_parameters({.prompt = "p"}, configs, "", {{"a:b, c", {1.0f}, "abcdef0123"}});
  EXPECT_NE(text.find("Model: \"my, model: \\\"x\\\"\","), std::string::npos) << text;
  EXPECT_NE(text.find("Lora hashes: \"ab c: abcdef0123\""), std::string::npos) << text;
  EXPECT_EQ(text.find("Distilled"), std::string::npos);
}

}  // namespace
}  // namespace fx
