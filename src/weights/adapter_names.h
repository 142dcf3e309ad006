// The names by which adapter files call modules, before any model is known.
//
// One table, made at start-up from the rules of weights/flux_rules.h and the layers of the text encoders: every module
// in every system of names, with dots and with underscores, "*" in place of the block index. A name is looked up, never
// rewritten: "SelfAttention_q", "wi_0" and "to_out_0" have underscores and digits of their own, which only a table can
// tell from separators.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "weights/component.h"
#include "weights/flux_rules.h"

namespace fx {

// Whose names they are.
enum class NameSystem {
  diffusers,
  original,   // the FLUX code's own, which are canonical
  slices,     // those, with q, k, v and MLP of fused modules numbered apart (OneTrainer's newer names)
  xlabs,      // attention processors
  published,  // of text encoders
};

enum class ModuleKind {
  linear,
  norm,
  embedding,
  unused,  // nothing in FLUX runs it
};

struct AdapterModule {
  Component component = Component::transformer;
  std::string canonical;  // "double_blocks.7.img_attn.qkv"
  FusedPart part = FusedPart::all;
  bool exchange_halves = false;  // of the file's rows
  ModuleKind kind = ModuleKind::linear;
  NameSystem system = NameSystem::original;
  std::string_view weight = ".weight";  // what makes the name of its weight: ".scale" for FLUX's norms
  std::string_view in, out;             // of text encoders: sizes of equal name are equal ("hidden")
  int64_t block = -1;                   // -1 outside of blocks
};

// `name` without prefix and suffix: "transformer_blocks.0.attn.to_q", "double_blocks_0_img_attn_qkv". Only modules of
// `component` if it is given. Nothing for a name that is not in the table; any block index is.
std::optional<AdapterModule> find_adapter_module(std::string_view name, std::optional<Component> component = {});

}  // namespace fx
