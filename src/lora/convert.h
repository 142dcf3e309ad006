// Writes any adapter as the most widely read kind of file: PEFT keys with diffusers module names.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "lora/adapter.h"
#include "lora/target.h"

namespace fx {

// A matrix pair under a diffusers name.
struct DiffusersModule {
  int64_t rank = 0, in = 0, out = 0;
  std::vector<float> a;  // (rank, in)
  std::vector<float> b;  // (out, rank), the scale folded in
};

// The adapter by full module name ("transformer.transformer_blocks.0.attn.to_q"): fused modules split into their parts,
// the final modulation in diffusers' order of halves, alpha / rank folded into B.
std::map<std::string, DiffusersModule> to_diffusers(const Adapter& adapter, const AdapterTarget& target);

// Writes `<module>.lora_A.weight` and `<module>.lora_B.weight`, atomically, with the file's metadata but for the fields
// that describe a scale, which the result no longer has. `dtype` is f32, f16 or bf16.
void write_diffusers_adapter(const std::filesystem::path& path, const Adapter& adapter, const AdapterTarget& target,
                             DType dtype = DType::f32);

}  // namespace fx
