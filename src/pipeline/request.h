// What a user asks for, and its limits.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "nn/taps.h"
#include "pipeline/config_json.h"
#include "sampling/noise.h"

namespace fx {

// Tensors given from outside in place of what the seed and the prompt would give; to compare with other programs.
struct GivenInputs {
  std::optional<HostTensor> latents;        // (1, I, C), packed noise
  std::optional<HostTensor> prompt_embeds;  // (1, T, context_dim)
  std::optional<HostTensor> pooled;         // (1, vec_dim)
};

// One picture. Adapters are not part of it: they are published to the slots before.
struct Request {
  std::string prompt;
  int64_t width = 0;   // pixels; 0 takes the VAE's sample_size
  int64_t height = 0;
  int steps = 0;       // 0 takes 28, or 4 for a model without guidance embedding
  double guidance = 3.5;
  uint64_t seed = 0;
  NoiseType noise = NoiseType::f32;
  int max_sequence_length = 512;  // T5 tokens
  GivenInputs given;
  Taps* taps = nullptr;  // of the first step, the text encoders and the VAE
};

// The request with its defaults filled in. Throws invalid_argument for a size that is not a positive multiple of
// configs.size_multiple() or is beyond 8192 pixels a side or 16 megapixels, steps outside of 1 to 1000, a guidance
// beyond a million, a NUL in the prompt, or a sequence length outside of 1 to 512.
Request completed(Request request, const ModelConfigs& configs);

enum class Stage { encode, denoise, decode };

struct Progress {
  Stage stage;
  int step = 0;   // steps done
  int steps = 0;
  double seconds_per_step = 0;  // mean so far
};

// Called after each step, on the thread that makes the picture; a GPU is at the next step by then. Returning false cancels:
// Error(cancelled).
using ProgressCallback = std::function<bool(const Progress&)>;

}  // namespace fx
