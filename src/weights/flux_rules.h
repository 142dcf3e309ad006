// The table of the FLUX transformer's names, as data: each module once. Checkpoints (flux_names.cc) and adapters
// (adapter_names.cc) are read with it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "weights/name_map.h"

namespace fx {

// Which rows of a fused canonical module another system's module stands for: q, k and v have as many rows as the module
// has inputs, the MLP of a single block follows them.
enum class FusedPart { all, q, k, v, mlp, qkv };

// Rows of a module of `in` inputs and `out` outputs; RowRange{} for all.
RowRange rows_of(FusedPart part, int64_t in, int64_t out);

bool overlap(FusedPart one, FusedPart other);

struct ModuleRule {
  std::string_view canonical;  // "*" stands for the block index
  std::string_view diffusers;
  FusedPart part = FusedPart::all;
  bool exchange_halves = false;  // of diffusers' rows
};

// A norm's gain: whole parameter names.
struct NormRule {
  std::string_view canonical, diffusers;
};

std::span<const ModuleRule> flux_modules();
std::span<const NormRule> flux_norms();

}  // namespace fx
