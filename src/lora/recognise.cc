#include "lora/recognise.h"

#include <array>
#include <string_view>

#include "core/error.h"
#include "lora/messages.h"

namespace fx {
namespace {

// A text that only keys of one kind contain. '^' in front: at the beginning of the key.
struct Sign {
  std::string_view text, meaning;
};

constexpr std::string_view kStableDiffusion = "Stable Diffusion 1.5 or SDXL";
constexpr std::string_view kStableDiffusion3 = "Stable Diffusion 3";
constexpr std::string_view kFlux2 = "FLUX.2";
constexpr std::string_view kQwen = "Qwen-Image";
constexpr std::string_view kHunyuan = "HunyuanVideo";
constexpr std::string_view kWan = "Wan";

constexpr std::array kFamilies = {
    Sign{"lora_unet_input_blocks_", kStableDiffusion},
    Sign{"lora_unet_middle_block_", kStableDiffusion},
    Sign{"lora_unet_output_blocks_", kStableDiffusion},
    Sign{"down_blocks", kStableDiffusion},
    Sign{"mid_block", kStableDiffusion},
    Sign{"up_blocks", kStableDiffusion},
    Sign{"^unet.", kStableDiffusion},
    Sign{"lora_te2_text_model_", kStableDiffusion},
    Sign{"^text_encoder_2.text_model.", kStableDiffusion},
    Sign{"joint_blocks", kStableDiffusion3},
    Sign{"double_stream_modulation", kFlux2},
    Sign{"single_stream_modulation", kFlux2},
    Sign{"to_qkv_mlp_proj", kFlux2},
    Sign{"ff.linear_in", kFlux2},
    Sign{"ff_context.linear_in", kFlux2},
    Sign{"img_mlp.net", kQwen},
    Sign{"txt_mlp.net", kQwen},
    Sign{"img_mlp_net", kQwen},
    Sign{"img_mod.1", kQwen},
    Sign{"img_mod_1.", kQwen},
    Sign{"token_refiner", kHunyuan},
    Sign{"img_mlp_fc1", kHunyuan},
    Sign{"img_mlp.fc1", kHunyuan},
    Sign{"^lora_unet_blocks_", kWan},
    Sign{"^blocks.", kWan},
    Sign{"^diffusion_model.blocks.", kWan},
    Sign{"^transformer.blocks.", kWan},
    Sign{"distilled_guidance_layer", "Chroma"},
};

constexpr std::array kFormats = {
    Sign{"processor.ip_adapter", "an IP-Adapter, which is not a LoRA and"},
    Sign{"ip_adapter_proj_model", "an IP-Adapter, which is not a LoRA and"},
    Sign{"_lora1.", "XLabs' LoRA format, which"},
    Sign{"_lora2.", "XLabs' LoRA format, which"},
    Sign{"^lora_unet_", "the kohya format (lora_unet_...), which"},
    Sign{"^lora_te", "the kohya format (lora_te...), which"},
    Sign{"^lora_transformer_", "the OneTrainer format (lora_transformer_...), which"},
    Sign{"^lycoris_", "the LyCORIS format (lycoris_...), which"},
    Sign{"^oft_unet_", "OFT, which"},
    Sign{"^diffusion_model.", "the ComfyUI format (diffusion_model....), which"},
    Sign{"^text_encoders.", "the ComfyUI format (text_encoders....), which"},
    Sign{"^clip_l.", "the newer OneTrainer format (clip_l....), which"},
    Sign{"^t5.", "the newer OneTrainer format (t5....), which"},
};

constexpr std::array kOthers = {
    Sign{"emb_params", "a textual inversion embedding"},
    Sign{"string_to_param", "a textual inversion embedding"},
    Sign{"bundle_emb", "a textual inversion embedding"},
    Sign{"decoder.up", "a VAE"},
    Sign{"transformer_blocks.", "model weights, not an adapter"},
    Sign{"double_blocks.", "model weights, not an adapter"},
    Sign{"model.diffusion_model.", "model weights, not an adapter"},
    Sign{"text_model.", "text encoder weights, not an adapter"},
    Sign{"encoder.block.", "text encoder weights, not an adapter"},
};

bool shows(std::string_view key, const Sign& sign) {
  if (sign.text.starts_with('^')) return key.starts_with(sign.text.substr(1));
  return key.find(sign.text) != std::string_view::npos;
}

struct Finding {
  const Sign* sign = nullptr;
  std::string key;
};

template <class Signs>
Finding look_for(const Signs& signs, const std::vector<std::string>& keys) {
  for (const std::string& key : keys) {
    for (const Sign& sign : signs) {
      if (shows(key, sign)) return {&sign, key};
    }
  }
  return {};
}

}  // namespace

void refuse_other_family(const std::vector<std::string>& keys, const std::string& label) {
  const auto [sign, key] = look_for(kFamilies, keys);
  if (!sign) return;
  fail(ErrorCode::unsupported, "{}: adapter of another model family ({}): expected keys of FLUX.1, found {}", label,
       sign->meaning, in_quotes(key));
}

void refuse_other_format(const std::vector<std::string>& keys, const std::string& label) {
  const auto [sign, key] = look_for(kFormats, keys);
  if (!sign) return;
  fail(ErrorCode::unsupported,
       "{}: key {} is of {} is not supported yet; expected PEFT/diffusers keys such as "
       "'transformer.transformer_blocks.0.attn.to_q.lora_A.weight'",
       label, in_quotes(key), sign->meaning);
}

void refuse_not_an_adapter(const std::vector<std::string>& keys, const std::string& label) {
  check(!keys.empty(), ErrorCode::bad_file, "{}: not a LoRA: the file has no tensors", label);
  const auto [sign, key] = look_for(kOthers, keys);
  if (sign) {
    fail(ErrorCode::bad_file,
         "{}: not a LoRA: it looks like {} (key {}); expected keys that end in lora_A.weight and "
         "lora_B.weight",
         label, sign->meaning, in_quotes(key));
  }
  fail(ErrorCode::bad_file,
       "{}: not a LoRA: none of its {} keys ends in lora_A.weight or lora_B.weight; first keys: {}", label, keys.size(),
       listed(keys));
}

}  // namespace fx
