// The name table of the FLUX transformer: canonical (the original code's) names and those of diffusers.
#include <array>

#include "weights/flux_rules.h"

namespace fx {
namespace {

constexpr std::array kModules = {
    ModuleRule{"img_in", "x_embedder"},
    ModuleRule{"txt_in", "context_embedder"},
    ModuleRule{"time_in.in_layer", "time_text_embed.timestep_embedder.linear_1"},
    ModuleRule{"time_in.out_layer", "time_text_embed.timestep_embedder.linear_2"},
    ModuleRule{"guidance_in.in_layer", "time_text_embed.guidance_embedder.linear_1"},
    ModuleRule{"guidance_in.out_layer", "time_text_embed.guidance_embedder.linear_2"},
    ModuleRule{"vector_in.in_layer", "time_text_embed.text_embedder.linear_1"},
    ModuleRule{"vector_in.out_layer", "time_text_embed.text_embedder.linear_2"},
    ModuleRule{"double_blocks.*.img_mod.lin", "transformer_blocks.*.norm1.linear"},
    ModuleRule{"double_blocks.*.txt_mod.lin", "transformer_blocks.*.norm1_context.linear"},
    ModuleRule{"double_blocks.*.img_attn.qkv", "transformer_blocks.*.attn.to_q", FusedPart::q},
    ModuleRule{"double_blocks.*.img_attn.qkv", "transformer_blocks.*.attn.to_k", FusedPart::k},
    ModuleRule{"double_blocks.*.img_attn.qkv", "transformer_blocks.*.attn.to_v", FusedPart::v},
    ModuleRule{"double_blocks.*.txt_attn.qkv", "transformer_blocks.*.attn.add_q_proj", FusedPart::q},
    ModuleRule{"double_blocks.*.txt_attn.qkv", "transformer_blocks.*.attn.add_k_proj", FusedPart::k},
    ModuleRule{"double_blocks.*.txt_attn.qkv", "transformer_blocks.*.attn.add_v_proj", FusedPart::v},
    ModuleRule{"double_blocks.*.img_attn.proj", "transformer_blocks.*.attn.to_out.0"},
    ModuleRule{"double_blocks.*.txt_attn.proj", "transformer_blocks.*.attn.to_add_out"},
    ModuleRule{"double_blocks.*.img_mlp.0", "transformer_blocks.*.ff.net.0.proj"},
    ModuleRule{"double_blocks.*.img_mlp.2", "transformer_blocks.*.ff.net.2"},
    ModuleRule{"double_blocks.*.txt_mlp.0", "transformer_blocks.*.ff_context.net.0.proj"},
    ModuleRule{"double_blocks.*.txt_mlp.2", "transformer_blocks.*.ff_context.net.2"},
    ModuleRule{"single_blocks.*.modulation.lin", "single_transformer_blocks.*.norm.linear"},
    ModuleRule{"single_blocks.*.linear1", "single_transformer_blocks.*.attn.to_q", FusedPart::q},
    ModuleRule{"single_blocks.*.linear1", "single_transformer_blocks.*.attn.to_k", FusedPart::k},
    ModuleRule{"single_blocks.*.linear1", "single_transformer_blocks.*.attn.to_v", FusedPart::v},
    ModuleRule{"single_blocks.*.linear1", "single_transformer_blocks.*.proj_mlp", FusedPart::mlp},
    ModuleRule{"single_blocks.*.linear2", "single_transformer_blocks.*.proj_out"},
    // The original reads its last modulation as (shift, scale), diffusers as (scale, shift).
    ModuleRule{"final_layer.adaLN_modulation.1", "norm_out.linear", FusedPart::all, true},
    ModuleRule{"final_layer.linear", "proj_out"},
};

constexpr std::array kNorms = {
    NormRule{"double_blocks.*.img_attn.norm.query_norm.scale", "transformer_blocks.*.attn.norm_q.weight"},
    NormRule{"double_blocks.*.img_attn.norm.key_norm.scale", "transformer_blocks.*.attn.norm_k.weight"},
    NormRule{"double_blocks.*.txt_attn.norm.query_norm.scale", "transformer_blocks.*.attn.norm_added_q.weight"},
    NormRule{"double_blocks.*.txt_attn.norm.key_norm.scale", "transformer_blocks.*.attn.norm_added_k.weight"},
    NormRule{"single_blocks.*.norm.query_norm.scale", "single_transformer_blocks.*.attn.norm_q.weight"},
    NormRule{"single_blocks.*.norm.key_norm.scale", "single_transformer_blocks.*.attn.norm_k.weight"},
};

int64_t repetitions(std::string_view canonical, const FluxLayout& layout) {
  if (canonical.starts_with("double_blocks.")) return layout.double_blocks;
  if (canonical.starts_with("single_blocks.")) return layout.single_blocks;
  return 1;
}

std::string with_index(std::string_view pattern, int64_t index) {
  std::string text(pattern);
  if (const size_t star = text.find('*'); star != std::string::npos) text.replace(star, 1, std::to_string(index));
  return text;
}

}  // namespace

std::span<const ModuleRule> flux_modules() { return kModules; }

std::span<const NormRule> flux_norms() { return kNorms; }

RowRange rows_of(FusedPart part, int64_t in, int64_t out) {
  switch (part) {
    case FusedPart::all: return {};
    case FusedPart::q: return {0, in};
    case FusedPart::k: return {in, in};
    case FusedPart::v: return {2 * in, in};
    case FusedPart::mlp: return {3 * in, out - 3 * in};
    case FusedPart::qkv: return {0, 3 * in};
  }
  return {};
}

bool overlap(FusedPart one, FusedPart other) {
  if (one == other || one == FusedPart::all || other == FusedPart::all) return true;
  if (one != FusedPart::qkv && other != FusedPart::qkv) return false;
  return one != FusedPart::mlp && other != FusedPart::mlp;
}

NameMap flux_name_map(const FluxLayout& layout) {
  const int64_t H = layout.hidden, linear1 = 3 * H + layout.mlp_hidden;
  NameMap map;
  for (const ModuleRule& rule : kModules) {
    for (int64_t i = 0; i < repetitions(rule.canonical, layout); ++i) {
      const std::string canonical = with_index(rule.canonical, i);
      map.add_module(with_index(rule.diffusers, i), {canonical, rows_of(rule.part, H, linear1), rule.exchange_halves});
      map.add_module(canonical, {canonical, {}, false});
    }
  }
  for (const NormRule& rule : kNorms) {
    for (int64_t i = 0; i < repetitions(rule.canonical, layout); ++i) {
      const std::string canonical = with_index(rule.canonical, i);
      map.add_parameter(with_index(rule.diffusers, i), {canonical, {}, false});
      map.add_parameter(canonical, {canonical, {}, false});
    }
  }
  return map;
}

}  // namespace fx
