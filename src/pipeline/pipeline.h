// Request -> encode -> denoise -> decode, on one loaded model and one back-end.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "io/png.h"
#include "lora/apply/parts.h"
#include "pipeline/denoiser.h"
#include "pipeline/model.h"

namespace fx {

struct Timings {
  double encode_seconds = 0;
  double prepare_seconds = 0;  // activations, modulation of all steps
  double denoise_seconds = 0;
  double decode_seconds = 0;
  double seconds_per_step = 0;
};

struct Picture {
  Image image;
  HostTensor latents;  // (1, I, C), packed, just before the VAE
  Request request;     // as carried out: all defaults filled in
  Timings timings;
  std::vector<std::string> warnings;  // for the user: a prompt that was cut off
  AdapterSet adapters;                // that took part; filled in by Engine
};

class Pipeline {
 public:
  // `ops` and `model` outlive the pipeline.
  Pipeline(Ops& ops, const Model& model) : ops_(ops), model_(model), denoiser_(ops, model.flux) {}

  // Makes one picture with the adapters that are published now, and those of the phases from their steps on. Throws invalid_argument for a bad request, cancelled when
  // `progress` returns false; afterwards the pipeline is as usable as before.
  Picture generate(const Request& request, const ProgressCallback& progress = nullptr,
                   std::span<const Phase> phases = {});

  // prompt_embeds and pooled_prompt_embeds of a prompt. Warnings are appended if `warnings` is given.
  Conditions encode(const std::string& prompt, int max_sequence_length, Taps* taps = nullptr,
                    std::vector<std::string>* warnings = nullptr);

  // Packed latents (1, I, C) -> RGB.
  Image decode(const HostTensor& latents, int64_t width, int64_t height, Taps* taps = nullptr);

  Denoiser& denoiser() { return denoiser_; }
  const Model& model() const { return model_; }

 private:
  Ops& ops_;
  const Model& model_;
  Denoiser denoiser_;
};

// The starting noise of a request as diffusers draws it: (1, c, h, w) from the seed, then packed to (1, I, 4c).
HostTensor packed_noise(const ModelConfigs& configs, const Request& request);

}  // namespace fx
