// Which types a model's tensors have under a precision. The only place that says so.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/precision.h"
#include "ops/lora_args.h"

namespace fx {

// What a parameter is used for.
enum class ParamRole {
  plain,         // embedders, norms, biases, convolutions, the final layer
  block_linear,  // the weights of a transformer block's linear layers: nearly all the work of a step
  modulation,    // read once for all steps of a picture
};

struct ModelTypes {
  DType plain = DType::f32;  // of activations too
  DType block_linear = DType::f32;
  DType modulation = DType::f32;  // e4m3 is weight-only: its input is not quantised
  // A copy of each block linear in the plain type, from which adapters are merged.
  bool masters = false;
  // Sets of the weights that carry adapters: with two, the next ones are merged while layers read the others.
  int weight_sets = 1;
  // Attention rounds its inputs and weights to e4m3 too, where the device can.
  bool e4m3_attention = false;
  // Room in the weights of block linears for adapters up to this rank on each part of a fused layer, in e4m3 without
  // masters: see front_of.
  int64_t lora_ranks = 0;

  DType of(ParamRole role) const {
    switch (role) {
      case ParamRole::plain: return plain;
      case ParamRole::block_linear: return block_linear;
      case ParamRole::modulation: return modulation;
    }
    return plain;
  }

  // Columns of e4m3 before the rows of a weight with `parts` that are adapted apart, where the layer's product takes
  // adapters along (LinearArgs::weight_front). Weights with masters carry their adapters themselves.
  int64_t front_of(ParamRole role, int64_t parts) const {
    if (role != ParamRole::block_linear || block_linear != DType::f8_e4m3 || masters) return 0;
    return whole_lines(lora_pitch(lora_ranks) * parts);
  }
  // Rows of e4m3 that begin within a line of the memory are multiplied up to a fifth slower.
  static int64_t whole_lines(int64_t columns) {
    constexpr int64_t kLine = 128;
    return (columns + kLine - 1) / kLine * kLine;
  }

  // What text encoders and VAE take: fp8 is for the transformer alone.
  static ModelTypes plain_of(Precision precision) {
    const DType dtype = precision == Precision::f32 ? DType::f32 : DType::bf16;
    return {dtype, dtype, dtype};
  }
  // `e4m3_modulation` is for fp8, where memory is short: in FLUX.1 it saves 3 GiB, and rounds what acts on every row.
  static ModelTypes transformer(Precision precision, bool masters, bool e4m3_modulation) {
    ModelTypes types = plain_of(precision);
    if (precision == Precision::f32) return types;
    types.masters = masters;
    if (precision == Precision::fp8) {
      types.block_linear = DType::f8_e4m3;
      if (e4m3_modulation) types.modulation = DType::f8_e4m3;
    }
    return types;
  }
};

}  // namespace fx
