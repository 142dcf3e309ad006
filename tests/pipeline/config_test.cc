// Config files: defaults of diffusers for what is absent, refusal by name for what we cannot run.
#include "pipeline/config_json.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "backends/make_ops.h"
#include "core/error.h"
#include "io/json_file.h"
#include "pipeline/model.h"
#include "support/golden.h"
#include "support/temp_folder.h"

namespace fx {
namespace {

using Json = nlohmann::json;

// A copy of a tiny model whose configs can be changed.
class ConfigTest : public ::testing::Test {
 protected:
  ConfigTest() {
    std::filesystem::copy(test::golden_folder() / "tiny-dev" / "model", folder(), std::filesystem::copy_options::recursive);
  }
  std::filesystem::path folder() const { return temp_.path() / "model"; }

  void edit(const std::string& file, const std::function<void(Json&)>& change) {
    Json json = read_json_file(folder() / file);
    change(json);
    std::ofstream(folder() / file) << json.dump();
  }
  // The message of the Error that reading the configs throws after setting one field.
  std::string refusal(const std::string& file, const std::string& key, const Json& value) {
    const Json before = read_json_file(folder() / file);
    edit(file, [&](Json& json) { json[key] = value; });
    std::string message = "no error";
    try {
      read_model_configs(folder());
    } catch (const Error& error) {
      message = error.what();
    }
    std::ofstream(folder() / file) << before.dump();
    return message;
  }

  fx::test::TempFolder temp_;
};

TEST_F(ConfigTest, RefusesByName) {
  struct Row {
    const char *file, *key;
    Json value;
  };
  const Row rows[] = {
      {"model_index.json", "_class_name", "StableDiffusionPipeline"},
      {"transformer/config.json", "_class_name", "UNet2DConditionModel"},
      {"transformer/config.json", "patch_size", 2},
      {"transformer/config.json", "axes_dims_rope", {2, 2, 2}},
      {"transformer/config.json", "axes_dims_rope", {8, 8}},
      {"transformer/config.json", "axes_dims_rope", {5, 5, 6}},
      {"transformer/config.json", "num_attention_heads", 0},
      {"transformer/config.json", "num_layers", -1},
      {"transformer/config.json", "num_single_layers", 2000000000},
      {"text_encoder/config.json", "num_hidden_layers", 2000000000},
      {"text_encoder/config.json", "layer_norm_eps", -1},
      {"text_encoder_2/config.json", "num_layers", 100000},
      {"transformer/config.json", "attention_head_dim", 1 << 30},
      {"vae/config.json", "scaling_factor", 0},
      {"vae/config.json", "scaling_factor", 1e300},
      {"vae/config.json", "shift_factor", 1e300},
      {"transformer/config.json", "in_channels", "many"},
      {"transformer/config.json", "in_channels", 1.5},
      {"transformer/config.json", "guidance_embeds", 3},
      {"transformer/config.json", "joint_attention_dim", 33},
      {"transformer/config.json", "pooled_projection_dim", 33},
      {"transformer/config.json", "out_channels", 32},
      {"text_encoder/config.json", "hidden_act", "relu"},
      {"text_encoder_2/config.json", "feed_forward_proj", "relu"},
      {"vae/config.json", "act_fn", "mish"},
      {"vae/config.json", "_class_name", "AutoencoderDC"},
      {"vae/config.json", "block_out_channels", {8, 16, 17, 16}},
      {"vae/config.json", "block_out_channels", Json::array()},
      {"vae/config.json", "down_block_types", {"DownEncoderBlock2D"}},
      {"vae/config.json", "up_block_types", {"AttnUpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"}},
      {"vae/config.json", "latents_mean", {0.0}},
      {"vae/config.json", "latent_channels", 4},
      {"scheduler/scheduler_config.json", "_class_name", "EulerDiscreteScheduler"},
      {"scheduler/scheduler_config.json", "use_karras_sigmas", true},
      {"scheduler/scheduler_config.json", "time_shift_type", "cubic"},
  };
  for (const Row& row : rows) {
    const std::string message = refusal(row.file, row.key, row.value);
    EXPECT_NE(message.find(row.key), std::string::npos) << row.file << ": " << row.key << ": " << message;
  }
}

TEST_F(ConfigTest, AbsentFieldsTakeDiffusersDefaults) {
  edit("vae/config.json", [](Json& json) {
    for (const char* key : {"use_quant_conv", "use_post_quant_conv", "scaling_factor", "mid_block_add_attention"}) json.erase(key);
    json["shift_factor"] = nullptr;
  });
  edit("transformer/config.json", [](Json& json) { json.erase("guidance_embeds"); });
  edit("scheduler/scheduler_config.json", [](Json& json) { json.erase("use_dynamic_shifting"); });
  const ModelConfigs configs = read_model_configs(folder());
  EXPECT_TRUE(configs.vae.quant_conv && configs.vae.post_quant_conv && configs.vae.mid_attention);
  EXPECT_FLOAT_EQ(configs.vae.scaling_factor, 0.18215f);
  EXPECT_EQ(configs.vae.shift_factor, 0.0f);
  EXPECT_FALSE(configs.flux.guidance_embed);
  EXPECT_EQ(configs.default_steps(), 4);
  EXPECT_FALSE(configs.scheduler.use_dynamic_shifting);
}

TEST_F(ConfigTest, MissingFilesAreNamed) {
  for (const char* file : {"model_index.json", "vae/config.json", "tokenizer/vocab.json",
                           "transformer/diffusion_pytorch_model-00002-of-00002.safetensors"}) {
    const auto path = folder() / file;
    std::filesystem::rename(path, path.string() + ".away");
    const auto ops = make_reference_ops();
    try {
      const Model model(*ops, folder());
      ADD_FAILURE() << "loaded without " << file;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_file);
      EXPECT_NE(std::string(error.what()).find(path.filename().string()), std::string::npos) << error.what();
    }
    std::filesystem::rename(path.string() + ".away", path);
  }
  EXPECT_THROW(read_model_configs(folder() / "nowhere"), Error);
}

TEST_F(ConfigTest, ModelHashIsThatOfTheWeights) {
  const std::string before = model_hash(folder());
  EXPECT_EQ(before.size(), 10u);
  EXPECT_EQ(model_hash(folder()), before);
  EXPECT_NE(model_hash(test::golden_folder() / "tiny-odd" / "model"), before);
  std::ofstream(folder() / "transformer" / "stray.safetensors") << "not of the model";
  EXPECT_EQ(model_hash(folder()), before);
  EXPECT_EQ(model_hash(folder() / "vae"), "");
}

}  // namespace
}  // namespace fx
