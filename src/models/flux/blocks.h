// The blocks of the transformer, in the words of the original code (black-forest-labs/flux, src/flux/modules/layers.py).
#pragma once

#include "models/flux/activations.h"
#include "nn/layers.h"

namespace fx {

// shift, scale and gate of one half of a block: columns of a modulation table.
struct Modulation {
  StepVector shift, scale, gate;  // (S, B, H) each
};
// The `index`-th (shift, scale, gate) triple of a table (S, B, 3nH).
Modulation modulation(const Tensor& table, const Tensor& step, int64_t index, int64_t hidden);

// What one stream (image or text) owns of a double block.
class StreamWeights {
 public:
  StreamWeights(const ParamScope& block, std::string_view stream, const FluxConfig& config);

  Linear mod;        // <stream>_mod.lin
  Linear qkv;        // <stream>_attn.qkv
  Linear proj;       // <stream>_attn.proj
  Linear mlp_in;     // <stream>_mlp.0
  Linear mlp_out;    // <stream>_mlp.2
  Tensor q_gain;     // (D), <stream>_attn.norm.query_norm.scale
  Tensor k_gain;     // (D), <stream>_attn.norm.key_norm.scale
};

class DoubleBlock {
 public:
  DoubleBlock(const ParamScope& scope, const FluxConfig& config);
  // The modulation of all steps; img_mod and txt_mod are (S, B, 6H).
  void modulate(Ops& ops, const Tensor& vec, const Tensor& img_mod, const Tensor& txt_mod) const;
  void forward(Ops& ops, FluxActivations& a, const Tensor& img_mod, const Tensor& txt_mod) const;

 private:
  StreamWeights img_, txt_;
  int64_t heads_;
};

class SingleBlock {
 public:
  SingleBlock(const ParamScope& scope, const FluxConfig& config);
  void modulate(Ops& ops, const Tensor& vec, const Tensor& mod) const { mod_(ops, vec, mod); }
  void forward(Ops& ops, FluxActivations& a, const Tensor& mod) const;

 private:
  Linear mod_;      // modulation.lin
  Linear linear1_;  // [q, k, v, mlp]
  Linear linear2_;  // reads [attention, mlp]
  Tensor q_gain_, k_gain_;  // (D)
  int64_t heads_;
};

}  // namespace fx
