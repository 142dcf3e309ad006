#include "lora/file/adapter_key.h"

#include <array>

namespace fx {
namespace {

struct Suffix {
  std::string_view text;
  KeyPart part;
  std::string_view algorithm = {};
};

// Those that end alike: the longer first.
constexpr std::array kSuffixes = {
    Suffix{".lora_linear_layer.down.weight", KeyPart::down},
    Suffix{".lora_linear_layer.up.weight", KeyPart::up},
    Suffix{".lora_A.weight", KeyPart::down},
    Suffix{".lora_B.weight", KeyPart::up},
    Suffix{"_.lora_down.weight", KeyPart::down},  // a stray underscore behind kohya's spelling of diffusers' names
    Suffix{"_.lora_up.weight", KeyPart::up},
    Suffix{".lora_down.weight", KeyPart::down},
    Suffix{".lora_up.weight", KeyPart::up},
    Suffix{".lora.down.weight", KeyPart::down},
    Suffix{".lora.up.weight", KeyPart::up},
    Suffix{"_lora.down.weight", KeyPart::down},
    Suffix{"_lora.up.weight", KeyPart::up},
    Suffix{".lora_mid.weight", KeyPart::unsupported, "a Tucker decomposition (LoCon)"},
    Suffix{".lora_magnitude_vector.weight", KeyPart::magnitude},
    Suffix{".down.weight", KeyPart::down},
    Suffix{".up.weight", KeyPart::up},
    Suffix{".a1.weight", KeyPart::unsupported, "GLoRA"},
    Suffix{".a2.weight", KeyPart::unsupported, "GLoRA"},
    Suffix{".b1.weight", KeyPart::unsupported, "GLoRA"},
    Suffix{".b2.weight", KeyPart::unsupported, "GLoRA"},
    Suffix{".bm.weight", KeyPart::unsupported, "GLoRA"},
    Suffix{".lora_B.bias", KeyPart::bias},
    Suffix{".lora_up.bias", KeyPart::bias},
    Suffix{".lora_A", KeyPart::down},
    Suffix{".lora_B", KeyPart::up},
    Suffix{"_.alpha", KeyPart::alpha},
    Suffix{".alpha", KeyPart::alpha},
    Suffix{".lora_magnitude_vector", KeyPart::magnitude},
    Suffix{".magnitude", KeyPart::magnitude},
    Suffix{".dora_scale", KeyPart::dora_scale},
    Suffix{".hada_w1_a", KeyPart::hada_w1_a},
    Suffix{".hada_w1_b", KeyPart::hada_w1_b},
    Suffix{".hada_w2_a", KeyPart::hada_w2_a},
    Suffix{".hada_w2_b", KeyPart::hada_w2_b},
    Suffix{".hada_t1", KeyPart::unsupported, "a Tucker decomposition (LoHa)"},
    Suffix{".hada_t2", KeyPart::unsupported, "a Tucker decomposition (LoHa)"},
    Suffix{".lokr_w1", KeyPart::lokr_w1},
    Suffix{".lokr_w1_a", KeyPart::lokr_w1_a},
    Suffix{".lokr_w1_b", KeyPart::lokr_w1_b},
    Suffix{".lokr_w2", KeyPart::lokr_w2},
    Suffix{".lokr_w2_a", KeyPart::lokr_w2_a},
    Suffix{".lokr_w2_b", KeyPart::lokr_w2_b},
    Suffix{".lokr_t1", KeyPart::unsupported, "a Tucker decomposition (LoKr)"},
    Suffix{".lokr_t2", KeyPart::unsupported, "a Tucker decomposition (LoKr)"},
    Suffix{".scale.diff", KeyPart::difference},
    Suffix{".diff", KeyPart::difference},
    Suffix{".w_norm", KeyPart::difference},
    Suffix{".diff_b", KeyPart::bias_difference},
    Suffix{".b_norm", KeyPart::bias_difference},
    Suffix{".scale.set_weight", KeyPart::new_value},
    Suffix{".set_weight", KeyPart::new_value},
    Suffix{".reshape_weight", KeyPart::resize},
    Suffix{".lora_embedding_A", KeyPart::unused},
    Suffix{".lora_embedding_B", KeyPart::unused},
    Suffix{".oft_blocks", KeyPart::unsupported, "OFT"},
    Suffix{".oft_diag", KeyPart::unsupported, "OFT"},
    Suffix{".oft_R.weight", KeyPart::unsupported, "OFT"},
    Suffix{".boft_R", KeyPart::unsupported, "BOFT"},
    Suffix{".rescale", KeyPart::unsupported, "OFT"},
    Suffix{".on_input", KeyPart::unsupported, "IA3"},
    Suffix{".ia3_l", KeyPart::unsupported, "IA3"},
    Suffix{".vera_lambda_b", KeyPart::unsupported, "VeRA"},
    Suffix{".vera_lambda_d", KeyPart::unsupported, "VeRA"},
    Suffix{".scale", KeyPart::scale},
    Suffix{".weight", KeyPart::weight},
};

// "<module>.lora_A.<adapter name>.weight": a name that PEFT had given the adapter was left in.
constexpr std::array kNamedSuffixes = {
    Suffix{".lora_A.", KeyPart::down},
    Suffix{".lora_B.", KeyPart::up},
    Suffix{".lora_magnitude_vector.", KeyPart::magnitude},
};

struct Prefix {
  std::string_view text;
  std::optional<Component> component;
  std::string_view format;    // with diffusers' names
  std::string_view original;  // with the original code's
};

constexpr std::array kPrefixes = {
    Prefix{"transformer.", Component::transformer, "PEFT/diffusers", "OneTrainer (newer)"},
    Prefix{"base_model.model.", std::nullopt, "PEFT", "fal"},
    Prefix{"diffusion_model.", Component::transformer, "ComfyUI", "ai-toolkit/ComfyUI"},
    Prefix{"lora_unet_", Component::transformer, "kohya", "kohya"},
    Prefix{"lora_transformer_", Component::transformer, "OneTrainer", "OneTrainer"},
    Prefix{"lycoris_", std::nullopt, "LyCORIS", "LyCORIS"},
    Prefix{"oft_unet_", Component::transformer, "OFT", "OFT"},
    Prefix{"text_encoder.", Component::text_encoder, "PEFT/diffusers", {}},
    Prefix{"text_encoder_2.", Component::text_encoder_2, "PEFT/diffusers", {}},
    Prefix{"lora_te_", Component::text_encoder, {}, {}},
    Prefix{"lora_te1_", Component::text_encoder, {}, {}},
    Prefix{"lora_te2_", Component::text_encoder_2, "OneTrainer", {}},
    Prefix{"lora_te3_", Component::text_encoder_2, "kohya", {}},
    Prefix{"text_encoders.clip_l.transformer.", Component::text_encoder, "ComfyUI", {}},
    Prefix{"text_encoders.t5xxl.transformer.", Component::text_encoder_2, "ComfyUI", {}},
    Prefix{"clip_l.", Component::text_encoder, "OneTrainer (newer)", {}},
    Prefix{"t5.", Component::text_encoder_2, "OneTrainer (newer)", {}},
};
constexpr Prefix kNoPrefix{{}, std::nullopt, "PEFT/diffusers", "BFL"};

struct Split {
  std::string_view module;
  KeyPart part;
  std::string_view algorithm = {};
};

std::optional<Split> split_named(std::string_view key) {
  for (const Suffix& suffix : kNamedSuffixes) {
    const size_t at = key.rfind(suffix.text);
    if (at == std::string_view::npos) continue;
    std::string_view adapter = key.substr(at + suffix.text.size());
    const bool bias = suffix.part == KeyPart::up && adapter.ends_with(".bias");
    for (const std::string_view end : {".weight", ".bias"}) {
      if (adapter.ends_with(end)) adapter.remove_suffix(end.size());
    }
    if (adapter.empty() || adapter.find('.') != std::string_view::npos || adapter == "bias") continue;
    return Split{key.substr(0, at), bias ? KeyPart::bias : suffix.part};
  }
  return std::nullopt;
}

std::optional<Split> split(std::string_view key) {
  std::optional<Split> found;
  for (const Suffix& suffix : kSuffixes) {
    if (!key.ends_with(suffix.text)) continue;
    found = Split{key.substr(0, key.size() - suffix.text.size()), suffix.part, suffix.algorithm};
    break;
  }
  if (found && found->part != KeyPart::weight) return found;
  const auto named = split_named(key);
  return named ? named : found;
}

// Removes the prefixes. There may be two: PEFT's, and one for the component on either side of it.
Prefix take_prefixes(std::string_view& name) {
  Prefix result = kNoPrefix;
  for (bool first = true, more = true; more; first = false) {
    more = false;
    for (const Prefix& prefix : kPrefixes) {
      if (!name.starts_with(prefix.text)) continue;
      name.remove_prefix(prefix.text.size());
      if (first) result = prefix;
      else if (prefix.component) result.component = prefix.component;
      more = true;
      break;
    }
  }
  return result;
}

std::string_view format_of(const Prefix& prefix, NameSystem system) {
  switch (system) {
    case NameSystem::slices: return "OneTrainer (newer)";
    case NameSystem::xlabs: return "XLabs";
    case NameSystem::original: return prefix.original;
    default: return prefix.format;
  }
}

}  // namespace

std::string_view without_prefixes(std::string_view key) {
  take_prefixes(key);
  return key;
}

std::optional<AdapterKey> parse_adapter_key(std::string_view key) {
  if (key.starts_with("bundle_emb.")) return AdapterKey{.name = key, .part = KeyPart::unused};
  const auto parts = split(key);
  if (!parts || parts->module.empty()) return std::nullopt;
  AdapterKey result{.name = parts->module, .part = parts->part, .algorithm = parts->algorithm};
  const Prefix prefix = take_prefixes(result.name);
  result.module = find_adapter_module(result.name, prefix.component);
  if (result.module) result.format = format_of(prefix, result.module->system);
  return result;
}

}  // namespace fx
