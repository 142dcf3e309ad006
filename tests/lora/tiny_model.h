// A whole FLUX model of a few thousand random weights, with slots for adapters.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "backends/make_ops.h"
#include "lora/apply/hotswap.h"
#include "lora/target.h"
#include "models/flux/transformer.h"
#include "models/text/clip_text.h"
#include "models/text/t5_encoder.h"
#include "support/random.h"

namespace fx::test {

inline FluxConfig tiny_flux() {
  FluxConfig config;
  config.in_channels = config.out_channels = 8;
  config.double_blocks = config.single_blocks = 2;
  config.heads = 2;
  config.head_dim = 8;
  config.axes_dim = {2, 2, 4};
  config.context_dim = 12;
  config.vec_dim = 10;
  return config;
}
inline ClipConfig tiny_clip() {
  ClipConfig config;
  config.vocab = 20;
  config.hidden = 10;
  config.mlp_hidden = 14;
  config.layers = config.heads = 2;
  config.max_positions = 8;
  config.eos_token = 19;
  return config;
}
inline T5Config tiny_t5() {
  T5Config config;
  config.vocab = 20;
  config.hidden = 12;
  config.head_dim = 6;
  config.mlp_hidden = 14;
  config.layers = config.heads = 2;
  config.buckets = 8;
  config.max_distance = 16;
  return config;
}

inline std::vector<std::string> parameter_names(const ParamStore& store) {
  std::vector<std::string> names;
  for (const Param& param : store.params()) names.push_back(param.name);
  return names;
}

inline void fill_random(Ops& ops, const ParamStore& store) {
  for (const Param& param : store.params()) {
    Rng rng(param.name);
    const bool matrix = param.tensor.rank() == 2;
    const bool gain = !matrix && !param.name.ends_with("bias");
    std::vector<float> values(static_cast<size_t>(param.tensor.count()));
    rng.fill_normal(values, matrix ? 1.5f / std::sqrt(static_cast<float>(param.tensor.size(1))) : 0.3f,
                    gain ? 1.0f : 0.0f);
    if (param.scale.defined()) continue;
    upload(ops, values, param.tensor);
    if (param.master.defined()) upload(ops, values, param.master);
  }
}

class TinyModel {
 public:
  // The types of the transformer.
  explicit TinyModel(const ModelTypes& types = {}, std::unique_ptr<Ops> made = make_reference_ops())
      : ops(std::move(made)), flux_params(ops->runtime(), types) {
    for (ParamStore* store : {&flux_params, &clip_params, &t5_params}) fill_random(*ops, *store);
    target.add(Component::transformer, flux_names, flux_params);
    target.add(Component::text_encoder, clip_names, clip_params);
    target.add(Component::text_encoder_2, t5_names, t5_params);
    slots = std::make_unique<AdapterSlots>(target);
    swap = std::make_unique<HotSwap>(*ops, *slots);
  }

  // Both text encoders, then one step: everything that an adapter can reach.
  std::vector<float> run() {
    set_inputs();
    clip.forward(*ops, {1, 5, 7, 19, 19}, activations.pooled);
    t5.forward(*ops, {3, 9, 1}, activations.context);
    flux.prepare(*ops, activations);
    flux.forward(*ops, activations);
    return download(*ops, activations.velocity);
  }
  std::vector<float> run_with(const AdapterSet& adapters) {
    swap->apply(adapters);
    return run();
  }

  LoraSlot& layer(Component component, const std::string& canonical) {
    return *target.slots().at(target.find_slot(component, canonical).value()).slot;
  }

  std::unique_ptr<Ops> ops;
  ParamStore flux_params, clip_params{ops->runtime()}, t5_params{ops->runtime()};
  Flux flux{flux_params, tiny_flux()};
  ClipText clip{clip_params, tiny_clip()};
  T5Encoder t5{t5_params, tiny_t5()};
  NameMap flux_names = flux_name_map(
      {tiny_flux().double_blocks, tiny_flux().single_blocks, tiny_flux().hidden(), tiny_flux().mlp_hidden()});
  NameMap clip_names = clip_name_map(parameter_names(clip_params));
  NameMap t5_names = t5_name_map(parameter_names(t5_params));
  FluxActivations activations{*ops, tiny_flux(), flux.types(), {.txt_tokens = 3, .rows = 2, .columns = 3, .steps = 2}};
  AdapterTarget target;
  std::unique_ptr<AdapterSlots> slots;
  std::unique_ptr<HotSwap> swap;

 private:
  void set_inputs() {
    upload(*ops, std::vector<int32_t>{1}, activations.step);
    upload(*ops, std::vector<float>{900, 400}, activations.timesteps);
    upload(*ops, std::vector<float>{3500}, activations.guidance);
    std::vector<float> latents(static_cast<size_t>(activations.latents.count()));
    Rng(7).fill_normal(latents);
    upload(*ops, latents, activations.latents);
  }
};

}  // namespace fx::test
