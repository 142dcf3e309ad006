// The FLUX transformer: predicts the velocity of packed latents at one noise level.
// Source: black-forest-labs/flux, src/flux/model.py.
#pragma once

#include <optional>
#include <vector>

#include "models/flux/blocks.h"
#include "nn/taps.h"

namespace fx {

// Linear, SiLU, linear: how a timestep, a guidance or a pooled vector becomes part of `vec`.
class MlpEmbedder {
 public:
  MlpEmbedder(const ParamScope& scope, int64_t in, int64_t hidden);
  // x (1, n, in) -> y (1, n, H). Works in place of nothing: `scratch` (1, n, H) holds the hidden layer.
  void operator()(Ops& ops, const Tensor& x, const Tensor& scratch, const Tensor& y) const;

 private:
  Linear in_layer_, out_layer_;
};

class Flux {
 public:
  // Declares all parameters in `store`, under the names of the original code. Throws unsupported for a contradictory
  // configuration.
  Flux(ParamStore& store, const FluxConfig& config);

  // Everything that does not change while denoising: vec and the modulation of all steps. Reads a.timesteps, a.guidance,
  // a.pooled. To be called when any of them, or an adapter, has changed.
  void prepare(Ops& ops, FluxActivations& a, Taps* taps = nullptr) const;

  // One step: a.velocity from a.latents and a.context, at the step in a.step. Graph-safe (see ops.h) while taps is null.
  void forward(Ops& ops, FluxActivations& a, Taps* taps = nullptr) const;

  const FluxConfig& config() const { return config_; }
  const ModelTypes& types() const { return store_->types(); }

  // What a recorded forward pass knows of the adapters: which layers add theirs, where these lie, how many columns of fronts
  // layers take, and which set of weights carries the others. While it is the same, a recording is valid.
  uint64_t step_signature() const;
  // The same of `prepare`.
  uint64_t prepare_signature() const;

 private:
  uint64_t signature_of(bool (*counts)(ParamRole)) const;

  FluxConfig config_;
  const ParamStore* store_;
  Linear img_in_, txt_in_;
  MlpEmbedder time_in_, vector_in_;
  std::optional<MlpEmbedder> guidance_in_;
  std::vector<DoubleBlock> double_blocks_;
  std::vector<SingleBlock> single_blocks_;
  Linear final_modulation_;  // final_layer.adaLN_modulation.1: (shift, scale)
  Linear final_linear_;      // final_layer.linear
};

}  // namespace fx
