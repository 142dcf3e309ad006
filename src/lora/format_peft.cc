// Keys as PEFT and diffusers write them, now and in the past: [prefix.]<module>.<suffix>, with dots.
#include <array>

#include "lora/format.h"

namespace fx {
namespace {

struct Suffix {
  std::string_view text;
  KeyPart part;
  std::string_view algorithm = {};
};

// Longer ones before those at their end.
constexpr std::array kSuffixes = {
    Suffix{".lora_linear_layer.down.weight", KeyPart::down},
    Suffix{".lora_linear_layer.up.weight", KeyPart::up},
    Suffix{".lora_A.weight", KeyPart::down},
    Suffix{".lora_B.weight", KeyPart::up},
    Suffix{".lora_down.weight", KeyPart::down},
    Suffix{".lora_up.weight", KeyPart::up},
    Suffix{".lora.down.weight", KeyPart::down},
    Suffix{".lora.up.weight", KeyPart::up},
    Suffix{"_lora.down.weight", KeyPart::down},
    Suffix{"_lora.up.weight", KeyPart::up},
    Suffix{".lora_A", KeyPart::down},
    Suffix{".lora_B", KeyPart::up},
    Suffix{".alpha", KeyPart::alpha},
    Suffix{".lora_embedding_A", KeyPart::ignored},
    Suffix{".lora_embedding_B", KeyPart::ignored},
    Suffix{".lora_B.bias", KeyPart::unsupported, "a LoRA with bias"},
    Suffix{".lora_magnitude_vector.weight", KeyPart::unsupported, "DoRA"},
    Suffix{".lora_magnitude_vector", KeyPart::unsupported, "DoRA"},
    Suffix{".magnitude", KeyPart::unsupported, "DoRA"},
    Suffix{".dora_scale", KeyPart::unsupported, "DoRA"},
    Suffix{".diff", KeyPart::unsupported, "a full difference of weights"},
    Suffix{".diff_b", KeyPart::unsupported, "a difference of biases"},
    Suffix{".w_norm", KeyPart::unsupported, "a difference of norms"},
    Suffix{".b_norm", KeyPart::unsupported, "a difference of norms"},
    Suffix{".set_weight", KeyPart::unsupported, "a replaced weight"},
    Suffix{".reshape_weight", KeyPart::unsupported, "a resized weight"},
    Suffix{".lora_mid.weight", KeyPart::unsupported, "a Tucker decomposition (LoCon)"},
    Suffix{".oft_blocks", KeyPart::unsupported, "OFT"},
    Suffix{".on_input", KeyPart::unsupported, "IA3"},
};

// Parts whose names begin alike: ".lokr_w1_a", ".hada_t2".
struct Marker {
  std::string_view text, algorithm;
};
constexpr std::array kMarkers = {Marker{".lokr_", "LoKr"}, Marker{".hada_", "LoHa"}};

// Prefixes of other formats that have dots too.
constexpr std::array<std::string_view, 8> kOtherFormats = {
    "diffusion_model.", "text_encoders.", "clip_l.", "t5.", "lora_unet_", "lora_te", "lora_transformer_", "lycoris_"};

struct Split {
  std::string_view module;
  KeyPart part;
  std::string_view algorithm = {};
};

// "<module>.lora_A.<adapter name>.weight", and the same with B or a magnitude.
std::optional<Split> split_named(std::string_view key) {
  constexpr std::array kNamed = {Suffix{".lora_A.", KeyPart::down}, Suffix{".lora_B.", KeyPart::up},
                                 Suffix{".lora_magnitude_vector.", KeyPart::unsupported, "DoRA"}};
  constexpr std::string_view kWeight = ".weight";
  if (!key.ends_with(kWeight)) return std::nullopt;
  for (const Suffix& suffix : kNamed) {
    const size_t at = key.rfind(suffix.text);
    if (at == std::string_view::npos) continue;
    const size_t begin = at + suffix.text.size(), end = key.size() - kWeight.size();
    if (end <= begin || key.substr(begin, end - begin).find('.') != std::string_view::npos) continue;
    return Split{key.substr(0, at), suffix.part, suffix.algorithm};
  }
  return std::nullopt;
}

std::optional<Split> split(std::string_view key) {
  for (const Suffix& suffix : kSuffixes) {
    if (key.ends_with(suffix.text)) {
      return Split{key.substr(0, key.size() - suffix.text.size()), suffix.part, suffix.algorithm};
    }
  }
  for (const Marker& marker : kMarkers) {
    const size_t at = key.find(marker.text);
    if (at != std::string_view::npos) return Split{key.substr(0, at), KeyPart::unsupported, marker.algorithm};
  }
  return split_named(key);
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// Removes the prefixes and says to which component the module belongs. Without a component's prefix, its first name
// tells.
Component take_component(std::string_view& module) {
  take_prefix(module, "base_model.model.");
  std::optional<Component> component;
  if (take_prefix(module, "transformer.")) component = Component::transformer;
  else if (take_prefix(module, "text_encoder_2.")) component = Component::text_encoder_2;
  else if (take_prefix(module, "text_encoder.")) component = Component::text_encoder;
  take_prefix(module, "base_model.model.");
  if (component) return *component;
  if (module.starts_with("text_model.") || module.starts_with("encoder.layers.")) return Component::text_encoder;
  if (module.starts_with("encoder.block.")) return Component::text_encoder_2;
  return Component::transformer;
}

// "attn.processor.to_out_lora" was a module of its own beside attn.to_out.0.
std::string without_processor(std::string module) {
  constexpr std::string_view kProcessor = ".processor.";
  const size_t at = module.find(kProcessor);
  if (at == std::string::npos) return module;
  module.erase(at + 1, kProcessor.size() - 1);
  if (module.ends_with(".to_out")) module += ".0";
  return module;
}

}  // namespace

std::optional<AdapterKey> parse_peft_key(std::string_view key) {
  for (const std::string_view prefix : kOtherFormats) {
    if (key.starts_with(prefix)) return std::nullopt;
  }
  const auto parts = split(key);
  if (!parts || parts->module.empty()) return std::nullopt;
  std::string_view module = parts->module;
  AdapterKey result;
  result.component = take_component(module);
  result.module = without_processor(std::string(module));
  result.part = parts->part;
  result.algorithm = parts->algorithm;
  if (module.empty()) return std::nullopt;
  // CLIP's projection into the space shared with pictures, which FLUX does not use.
  if (module == "text_projection" && result.part != KeyPart::unsupported) result.part = KeyPart::ignored;
  return result;
}

}  // namespace fx
