#include "lora/file/recognise.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/error.h"
#include "lora/file/adapter_key.h"
#include "lora/messages.h"

namespace fx {
namespace {

// A text that only keys of one kind contain. '^' in front: at the beginning of the key, with its prefix or without.
struct Sign {
  std::string_view text, meaning;
};

constexpr std::string_view kStableDiffusion = "Stable Diffusion 1.5";
constexpr std::string_view kStableDiffusionXl = "SDXL";
constexpr std::string_view kStableDiffusion3 = "Stable Diffusion 3";
constexpr std::string_view kFlux2 = "FLUX.2";
constexpr std::string_view kQwen = "Qwen-Image";
constexpr std::string_view kHunyuan = "HunyuanVideo";
constexpr std::string_view kWan = "Wan";

// What only SDXL has, beside the names that it shares with its elder: a second CLIP, deeper attention, and the names of the
// original U-Net, in which nobody writes the elder's adapters.
constexpr std::array kLarge = {
    Sign{"lora_unet_input_blocks_", kStableDiffusionXl},
    Sign{"lora_unet_middle_block_", kStableDiffusionXl},
    Sign{"lora_unet_output_blocks_", kStableDiffusionXl},
    Sign{"lora_te2_text_model_", kStableDiffusionXl},
    Sign{"^text_encoder_2.text_model.", kStableDiffusionXl},
    Sign{"attentions_0_transformer_blocks_1_", kStableDiffusionXl},
    Sign{"attentions.0.transformer_blocks.1.", kStableDiffusionXl},
    Sign{"attentions_1_transformer_blocks_1_", kStableDiffusionXl},
    Sign{"attentions.1.transformer_blocks.1.", kStableDiffusionXl},
};

constexpr std::array kFamilies = {
    Sign{"down_blocks", kStableDiffusion},
    Sign{"mid_block", kStableDiffusion},
    Sign{"up_blocks", kStableDiffusion},
    Sign{"^unet.", kStableDiffusion},
    Sign{"joint_blocks", kStableDiffusion3},
    Sign{"transformer_blocks.0.attn2.", kStableDiffusion3},
    Sign{"double_stream_modulation", kFlux2},
    Sign{"single_stream_modulation", kFlux2},
    Sign{"to_qkv_mlp_proj", kFlux2},
    Sign{"ff.linear_in", kFlux2},
    Sign{"ff_context.linear_in", kFlux2},
    Sign{"img_mlp.net", kQwen},
    Sign{"txt_mlp.net", kQwen},
    Sign{"img_mlp_net", kQwen},
    Sign{"txt_mlp_net", kQwen},
    Sign{"img_mod.1", kQwen},
    Sign{"txt_mod.1", kQwen},
    Sign{"img_mod_1.", kQwen},
    Sign{"txt_mod_1.", kQwen},
    Sign{"token_refiner", kHunyuan},
    Sign{".img_attn_qkv", kHunyuan},  // FLUX.1 has it with dots only or underscores only
    Sign{".txt_attn_qkv", kHunyuan},
    Sign{".img_attn_proj", kHunyuan},
    Sign{".txt_attn_proj", kHunyuan},
    Sign{"img_mlp_fc", kHunyuan},
    Sign{"txt_mlp_fc", kHunyuan},
    Sign{"img_mlp.fc", kHunyuan},
    Sign{"txt_mlp.fc", kHunyuan},
    Sign{"^blocks_", kWan},
    Sign{"^blocks.", kWan},
    Sign{"distilled_guidance_layer", "Chroma"},
};

constexpr std::array kOthers = {
    Sign{"ip_adapter", "an IP-Adapter"},
    Sign{"emb_params", "a textual inversion embedding"},
    Sign{"string_to_param", "a textual inversion embedding"},
    Sign{"bundle_emb", "a textual inversion embedding"},
    Sign{"^clip_l", "a textual inversion embedding"},
    Sign{"^t5xxl", "a textual inversion embedding"},
    Sign{"decoder.up", "a VAE"},
    Sign{"transformer_blocks.", "model weights, not an adapter"},
    Sign{"double_blocks.", "model weights, not an adapter"},
    Sign{"model.diffusion_model.", "model weights, not an adapter"},
    Sign{"text_model.", "text encoder weights, not an adapter"},
    Sign{"encoder.block.", "text encoder weights, not an adapter"},
};

// `module` is the key without its prefix.
bool shows(std::string_view key, std::string_view module, const Sign& sign) {
  if (!sign.text.starts_with('^')) return key.find(sign.text) != std::string_view::npos;
  const std::string_view start = sign.text.substr(1);
  return key.starts_with(start) || module.starts_with(start);
}

struct Finding {
  const Sign* sign = nullptr;
  std::string key;
};

template <class Signs>
Finding look_for(const Signs& signs, const std::vector<std::string>& keys) {
  for (const std::string& key : keys) {
    const std::string_view module = without_prefixes(key);
    for (const Sign& sign : signs) {
      if (shows(key, module, sign)) return {&sign, key};
    }
  }
  return {};
}

struct Family {
  std::string_view name;
  TransformerSizes sizes;
  bool fits(const TransformerSizes& found) const {
    return found.double_blocks <= sizes.double_blocks && found.single_blocks <= sizes.single_blocks &&
           (found.linear1 == 0 || sizes.linear1 == 0 || found.linear1 == sizes.linear1);
  }
};

// Published models; of two that fit, the first.
constexpr std::array kPublished = {
    Family{kFlux1, {3072, 19, 38, 7 * 3072}},
    Family{kHunyuan, {3072, 20, 40, 7 * 3072}},
    Family{kFlux2, {3072, 5, 20, 9 * 3072}},
    Family{kQwen, {3072, 60, 0}},
    Family{kStableDiffusion3, {1536, 24, 0}},
    Family{"Stable Diffusion 3.5 Large", {2432, 38, 0}},
    Family{kFlux2, {6144, 8, 48}},
    Family{kFlux2, {4096, 8, 24}},
};
constexpr TransformerSizes kFlux = kPublished[0].sizes;

}  // namespace

bool TransformerSizes::beyond_flux() const {
  return double_blocks > kFlux.double_blocks || single_blocks > kFlux.single_blocks;
}

std::string_view likely_family(const TransformerSizes& sizes) {
  const bool known_width =
      std::ranges::any_of(kPublished, [&](const Family& family) { return family.sizes.width == sizes.width; });
  if (!known_width && !sizes.beyond_flux()) return {};
  for (const Family& family : kPublished) {
    if (family.fits(sizes) && (!known_width || family.sizes.width == sizes.width)) return family.name;
  }
  return {};
}

void refuse_other_family(const std::vector<std::string>& keys, const std::string& label) {
  const Finding large = look_for(kLarge, keys);
  const auto [sign, key] = large.sign ? large : look_for(kFamilies, keys);
  if (!sign) return;
  fail(ErrorCode::unsupported, "{}: adapter of another model family ({}): expected keys of FLUX.1, found {}", label,
       sign->meaning, in_quotes(key));
}

void refuse_not_an_adapter(const std::vector<std::string>& keys, const std::string& label) {
  check(!keys.empty(), ErrorCode::bad_file, "{}: not a LoRA: the file has no tensors", label);
  const auto [sign, key] = look_for(kOthers, keys);
  if (sign) {
    fail(ErrorCode::bad_file,
         "{}: not a LoRA: it looks like {} (key {}); expected keys such as "
         "'transformer.transformer_blocks.0.attn.to_q.lora_A.weight'",
         label, sign->meaning, in_quotes(key));
  }
  fail(ErrorCode::bad_file, "{}: not a LoRA: none of its {} keys ends like a key of an adapter; first keys: {}", label,
       keys.size(), listed(keys));
}

}  // namespace fx
