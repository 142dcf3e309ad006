// Writes adapters as files that others read.
//
// Low-rank ones become PEFT keys with diffusers module names, the most widely read kind. The result is canonical:
// whatever the format of the file was, the same adapter gives the same tensors. So alpha is folded in; fused modules are
// split into their parts; and ranks whose column of B is zero, which a fused file needs to keep q, k and v apart, are
// left out, as are modules of which nothing remains.
//
// Any adapter can be written as the differences that it makes to the parameters.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "lora/adapter.h"
#include "lora/target.h"
#include "lora/write/base_weights.h"

namespace fx {

// A matrix pair under a diffusers name.
struct DiffusersModule {
  int64_t rank = 0, in = 0, out = 0;
  std::vector<float> a;  // (rank, in)
  std::vector<float> b;  // (out, rank), the scale folded in
};

// The adapter by full module name ("transformer.transformer_blocks.0.attn.to_q"), canonical as told above; an adapter of
// zeros alone keeps its modules. Throws unsupported for an adapter that is not exactly low-rank.
std::map<std::string, DiffusersModule> to_diffusers(const Adapter& adapter, const AdapterTarget& target);

// What a conversion has written.
struct Conversion {
  std::map<std::string, Shape> tensors;  // by name
  size_t modules = 0;                    // or parameters, for differences
};

// Writes `<module>.lora_A.weight` and `<module>.lora_B.weight`, atomically, with the file's metadata but for the fields
// that describe a scale, which the result no longer has. `dtype` is f32, f16 or bf16. Throws as to_diffusers.
Conversion write_diffusers_adapter(const std::filesystem::path& path, const Adapter& adapter,
                                   const AdapterTarget& target, DType dtype = DType::f32);

// Writes, for each parameter that the adapter changes, what it adds to it at scale 1, in f32: named as diffusers names the
// parameter, those of text encoders with the component in front ("text_encoder_2.encoder.block.0..."). One parameter is
// in memory at a time. DoRA and replaced values need the base weights of their component: throws unsupported where
// `bases` has none.
Conversion write_parameter_deltas(const std::filesystem::path& path, const Adapter& adapter,
                                  const AdapterTarget& target, const std::map<Component, BaseWeights>& bases);

}  // namespace fx
