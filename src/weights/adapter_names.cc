#include "weights/adapter_names.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "core/error.h"

namespace fx {
namespace {

// Names of the transformer that are neither diffusers' nor the original's, nor follow from them.
struct ExtraName {
  std::string_view name, canonical;
  FusedPart part;
  NameSystem system;
};

constexpr std::array kExtraNames = {
    ExtraName{"img_in.proj", "img_in", FusedPart::all, NameSystem::slices},
    ExtraName{"double_blocks.*.processor.qkv_lora1", "double_blocks.*.img_attn.qkv", FusedPart::all, NameSystem::xlabs},
    ExtraName{"double_blocks.*.processor.qkv_lora2", "double_blocks.*.txt_attn.qkv", FusedPart::all, NameSystem::xlabs},
    ExtraName{"double_blocks.*.processor.proj_lora1", "double_blocks.*.img_attn.proj", FusedPart::all,
              NameSystem::xlabs},
    ExtraName{"double_blocks.*.processor.proj_lora2", "double_blocks.*.txt_attn.proj", FusedPart::all,
              NameSystem::xlabs},
    ExtraName{"single_blocks.*.processor.qkv", "single_blocks.*.linear1", FusedPart::qkv, NameSystem::xlabs},
    ExtraName{"single_blocks.*.processor.proj", "single_blocks.*.linear2", FusedPart::all, NameSystem::xlabs},
    ExtraName{"single_blocks.*.linear1_qkv", "single_blocks.*.linear1", FusedPart::qkv, NameSystem::original},
    // A diffusers model after fuse_qkv_projections.
    ExtraName{"transformer_blocks.*.attn.to_qkv", "double_blocks.*.img_attn.qkv", FusedPart::all,
              NameSystem::diffusers},
    ExtraName{"transformer_blocks.*.attn.to_added_qkv", "double_blocks.*.txt_attn.qkv", FusedPart::all,
              NameSystem::diffusers},
    ExtraName{"single_transformer_blocks.*.attn.to_qkv", "single_blocks.*.linear1", FusedPart::qkv,
              NameSystem::diffusers},
};

struct TextRule {
  std::string_view name;
  std::string_view in = {}, out = {};
  ModuleKind kind = ModuleKind::linear;
};

constexpr std::string_view kClipPrefix = "text_model.";  // which some files leave out

constexpr std::array kClipModules = {
    TextRule{"encoder.layers.*.self_attn.q_proj", "hidden", "hidden"},
    TextRule{"encoder.layers.*.self_attn.k_proj", "hidden", "hidden"},
    TextRule{"encoder.layers.*.self_attn.v_proj", "hidden", "hidden"},
    TextRule{"encoder.layers.*.self_attn.out_proj", "hidden", "hidden"},
    TextRule{"encoder.layers.*.mlp.fc1", "hidden", "mlp"},
    TextRule{"encoder.layers.*.mlp.fc2", "mlp", "hidden"},
    TextRule{"encoder.layers.*.layer_norm1", {}, "hidden", ModuleKind::norm},
    TextRule{"encoder.layers.*.layer_norm2", {}, "hidden", ModuleKind::norm},
    TextRule{"final_layer_norm", {}, "hidden", ModuleKind::norm},
    TextRule{"embeddings.token_embedding", "hidden", {}, ModuleKind::embedding},
    TextRule{"embeddings.position_embedding", "hidden", {}, ModuleKind::embedding},
};

constexpr std::array kT5Modules = {
    TextRule{"encoder.block.*.layer.0.SelfAttention.q", "hidden", "inner"},
    TextRule{"encoder.block.*.layer.0.SelfAttention.k", "hidden", "inner"},
    TextRule{"encoder.block.*.layer.0.SelfAttention.v", "hidden", "inner"},
    TextRule{"encoder.block.*.layer.0.SelfAttention.o", "inner", "hidden"},
    TextRule{"encoder.block.*.layer.1.DenseReluDense.wi_0", "hidden", "mlp"},
    TextRule{"encoder.block.*.layer.1.DenseReluDense.wi_1", "hidden", "mlp"},
    TextRule{"encoder.block.*.layer.1.DenseReluDense.wo", "mlp", "hidden"},
    TextRule{"encoder.block.*.layer.0.layer_norm", {}, "hidden", ModuleKind::norm},
    TextRule{"encoder.block.*.layer.1.layer_norm", {}, "hidden", ModuleKind::norm},
    TextRule{"encoder.final_layer_norm", {}, "hidden", ModuleKind::norm},
    TextRule{"encoder.block.*.layer.0.SelfAttention.relative_attention_bias", {}, {}, ModuleKind::embedding},
    TextRule{"shared", "hidden", {}, ModuleKind::embedding},
};

std::string replaced(std::string_view text, std::string_view old, std::string_view with) {
  std::string result(text);
  if (const size_t at = result.find(old); at != std::string::npos) result.replace(at, old.size(), with);
  return result;
}

class Table {
 public:
  Table() {
    for (const ModuleRule& rule : flux_modules()) add_rule(rule);
    for (const NormRule& rule : flux_norms()) add_norm(rule);
    for (const ExtraName& extra : kExtraNames) {
      add(extra.name, {.canonical = std::string(extra.canonical), .part = extra.part, .system = extra.system});
    }
    for (const TextRule& rule : kClipModules) {
      const std::string full = std::string(kClipPrefix) + std::string(rule.name);
      for (const std::string_view name : {std::string_view(full), rule.name}) {
        add_text(Component::text_encoder, name, full, rule);
      }
    }
    for (const TextRule& rule : kT5Modules) add_text(Component::text_encoder_2, rule.name, rule.name, rule);
    // CLIP's projection into the space it shares with pictures; the pooled output of FLUX does without it.
    for (const char* name : {"text_projection", "text_model.text_projection"}) {
      add_text(Component::text_encoder, name, "text_projection", {.name = name, .kind = ModuleKind::unused});
    }
  }

  const AdapterModule* find(const std::string& pattern) const {
    const auto found = modules_.find(pattern);
    return found == modules_.end() ? nullptr : &found->second;
  }

 private:
  void add_rule(const ModuleRule& rule) {
    const std::string canonical(rule.canonical);
    const AdapterModule diffusers{.canonical = canonical,
                                  .part = rule.part,
                                  .exchange_halves = rule.exchange_halves,
                                  .system = NameSystem::diffusers};
    add(canonical, {.canonical = canonical});
    add(rule.diffusers, diffusers);
    // "attn.processor.to_out_lora.down" was beside "attn.to_out.0" in old files.
    const std::string processor = replaced(rule.diffusers, ".attn.", ".attn.processor.");
    if (processor != rule.diffusers) add(replaced(processor, ".to_out.0", ".to_out"), diffusers);
    if (rule.part == FusedPart::all) return;
    const int slice = static_cast<int>(rule.part) - static_cast<int>(FusedPart::q);
    add(canonical + "." + std::to_string(slice),
        {.canonical = canonical, .part = rule.part, .system = NameSystem::slices});
  }

  void add_norm(const NormRule& rule) {
    const auto stem = [](std::string_view parameter) { return parameter.substr(0, parameter.rfind('.')); };
    AdapterModule module{.canonical = std::string(stem(rule.canonical)), .kind = ModuleKind::norm, .weight = ".scale"};
    add(stem(rule.canonical), module);
    module.system = NameSystem::diffusers;
    add(stem(rule.diffusers), module);
  }

  void add_text(Component component, std::string_view name, std::string_view canonical, const TextRule& rule) {
    add(name, {.component = component,
               .canonical = std::string(canonical),
               .kind = rule.kind,
               .system = NameSystem::published,
               .in = rule.in,
               .out = rule.out});
  }

  // With dots and with underscores.
  void add(std::string_view name, const AdapterModule& module) {
    std::string spelling(name);
    add_spelling(spelling, module);
    std::ranges::replace(spelling, '.', '_');
    add_spelling(spelling, module);
  }

  void add_spelling(const std::string& spelling, const AdapterModule& module) {
    const auto [known, added] = modules_.emplace(spelling, module);
    check(added || known->second.canonical == module.canonical, ErrorCode::internal, "'{}' names both {} and {}",
          spelling, known->second.canonical, module.canonical);
  }

  std::unordered_map<std::string, AdapterModule> modules_;
};

// A name with "*" in place of its first number that stands between two separators.
struct IndexedName {
  std::string pattern;
  int64_t block = -1;
};

std::optional<IndexedName> take_index(std::string_view name) {
  if (name.find('*') != std::string_view::npos) return std::nullopt;
  constexpr size_t kMostDigits = 6;
  const auto separator = [](char c) { return c == '.' || c == '_'; };
  for (size_t begin = 1; begin < name.size(); ++begin) {
    if (!separator(name[begin - 1])) continue;
    const size_t end = name.find_first_not_of("0123456789", begin);
    if (end == begin || end == std::string_view::npos || !separator(name[end])) continue;
    const std::string digits(name.substr(begin, end - begin));
    if (digits.size() > kMostDigits || (digits.size() > 1 && digits[0] == '0')) return std::nullopt;
    return IndexedName{std::string(name.substr(0, begin)) + "*" + std::string(name.substr(end)), std::stoll(digits)};
  }
  return IndexedName{std::string(name)};
}

}  // namespace

std::optional<AdapterModule> find_adapter_module(std::string_view name, std::optional<Component> component) {
  static const Table table;
  const auto indexed = take_index(name);
  const AdapterModule* found = indexed ? table.find(indexed->pattern) : nullptr;
  if (!found || (component && found->component != *component)) return std::nullopt;
  AdapterModule module = *found;
  module.block = indexed->block;
  if (module.block >= 0) module.canonical = replaced(module.canonical, "*", std::to_string(module.block));
  return module;
}

}  // namespace fx
