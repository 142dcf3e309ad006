// The denoising loop: from noise and conditions to the latents of a picture.
#pragma once

#include <memory>
#include <span>

#include "models/flux/transformer.h"
#include "pipeline/request.h"

namespace fx {

// What the text encoders make of a prompt, on the host.
struct Conditions {
  HostTensor prompt_embeds;  // (1, T, context_dim)
  HostTensor pooled;         // (1, vec_dim)
};

// A change of adapters while a picture is being made.
struct Phase {
  int first_step = 0;
  // Publishes what acts from this step on. True when the transformer has changed: modulation is computed again.
  std::function<bool()> enter;
};

class Denoiser {
 public:
  Denoiser(Ops& ops, const Flux& flux) : ops_(ops), flux_(flux) {}

  // Activations for these sizes, at addresses that stay until other sizes are asked for.
  FluxActivations& activations(const FluxSizes& sizes);

  // Fills the inputs of all steps: noise and conditions of each picture of the batch, the schedule, and the modulation.
  // `sigmas` has S + 1 values, `timesteps` S; `latents` and the conditions are packed one picture after the other.
  // Throws invalid_argument when a tensor has another shape than the sizes ask for.
  void begin(FluxActivations& a, std::span<const float> latents, const Conditions& conditions,
             const std::vector<float>& sigmas, const std::vector<float>& timesteps, double guidance, Taps* taps);

  // One step: velocity, Euler, counter. Graph-safe while taps is null: all that differs between steps is device memory.
  void step(FluxActivations& a, Taps* taps = nullptr);

  // All steps. `progress` is called after each. A phase is entered before its first step; the first phase needs no entry.
  // Throws device, naming the step, if the latents are not finite.
  void run(FluxActivations& a, Taps* taps, const ProgressCallback& progress, std::span<const Phase> phases = {});

 private:
  Ops& ops_;
  const Flux& flux_;
  std::unique_ptr<FluxActivations> activations_;
};

}  // namespace fx
