// The denoising loop: from noise and conditions to the latents of a picture.
#pragma once

#include <list>
#include <memory>
#include <span>

#include "models/flux/transformer.h"
#include "pipeline/arrangements.h"
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

  // Activations for these sizes. They are kept, with the steps recorded on them, as long as all that are kept together
  // fit a limit; those of the last call always are.
  FluxActivations& activations(const FluxSizes& sizes);

  // Fills the inputs of all steps: noise and conditions of each picture of the batch, the schedule, and the modulation.
  // `sigmas` has S + 1 values, `timesteps` S; latents and conditions are packed one picture after the other. Latents are
  // asked for while the device computes the modulation: to draw them takes about as long.
  // Throws invalid_argument when a tensor has another shape than the sizes ask for.
  using DrawLatents = std::function<std::vector<float>()>;
  void begin(FluxActivations& a, const DrawLatents& draw_latents, const Conditions& conditions,
             const std::vector<float>& sigmas, const std::vector<float>& timesteps, double guidance, Taps* taps);

  // One step: velocity, Euler, counter. Graph-safe while taps is null: all that differs between steps is device memory.
  void step(FluxActivations& a, Taps* taps = nullptr);

  // The same, recorded and replayed where the device can: a step of sizes and adapter memory that are known is one launch.
  void advance(FluxActivations& a);

  // All steps. `progress` is called after each, while the device is at the next one. A phase is entered before its first step;
  // the first phase needs no entry. Throws device, naming the step, if the latents are not finite; whatever it throws, nothing
  // is in flight then.
  void run(FluxActivations& a, Taps* taps, const ProgressCallback& progress, std::span<const Phase> phases = {});

  // Runs work in each other arrangement that a change of adapters may bring (HotSwap::with_other_arrangements). A step is then
  // recorded for all of them at once, so that no such change asks for a recording.
  using WithOthers = std::function<void(const std::function<void()>&)>;
  void record_for_all(WithOthers with_others) { with_others_ = std::move(with_others); }

  // Off: every step is issued call by call.
  void use_recordings(bool on) { use_recordings_ = on; }
  // Recordings since the start: of steps, and of what comes before the first.
  size_t captures() const { return captures_; }
  void limit_memory(size_t bytes) { memory_limit_ = bytes; }

 private:
  // What one size needs.
  struct Canvas {
    std::unique_ptr<FluxActivations> activations;
    Arrangements prepares, steps;  // by Flux::prepare_signature, Flux::step_signature
  };
  Canvas& canvas_of(const FluxActivations& a);
  void make_room(size_t bytes);
  bool records() const { return use_recordings_ && ops_.runtime().records(); }
  void prepare(FluxActivations& a);
  std::unique_ptr<Recording> record(const std::function<void()>& work);

  Ops& ops_;
  const Flux& flux_;
  std::list<Canvas> canvases_;  // most recently used first
  size_t memory_limit_ = size_t{3} << 29;
  size_t captures_ = 0;
  bool use_recordings_ = true;
  WithOthers with_others_;
};

}  // namespace fx
