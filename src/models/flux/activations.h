// All memory that denoising one picture size needs, at fixed addresses: allocated once, then used by every step, prompt,
// seed and adapter.
#pragma once

#include <vector>

#include "core/arena.h"
#include "models/flux/config.h"
#include "nn/layers.h"

namespace fx {

// Sizes that decide the shapes. B pictures of I = rows x columns image tokens, T text tokens, S steps.
struct FluxSizes {
  int64_t batch = 1;
  int64_t txt_tokens = 512;
  int64_t rows = 64;
  int64_t columns = 64;
  int64_t steps = 28;

  int64_t img_tokens() const { return rows * columns; }
  int64_t tokens() const { return txt_tokens + img_tokens(); }
  bool operator==(const FluxSizes&) const = default;
};

// Layers of the published files that are one here: to_q, to_k, to_v, and in single blocks the first of the MLP.
constexpr int64_t kQkvParts = 3, kLinear1Parts = 4;

struct FluxActivations {
  FluxActivations(Ops& ops, const FluxConfig& config, const ModelTypes& types, const FluxSizes& sizes);

  size_t bytes() const { return arena.bytes(); }
  // What those of these sizes take, about: the tables of modulation and the streams.
  static size_t bytes_for(const FluxConfig& config, const ModelTypes& types, const FluxSizes& sizes);

  FluxSizes sizes;
  Arena arena;

  // Inputs. H hidden size, M hidden size of the MLP, C channels of a packed token, D head size.
  Tensor step;       // (1) i32, the step that runs next
  Tensor sigmas;     // (S + 1)
  Tensor timesteps;  // (S), sigma * 1000
  Tensor guidance;   // (1), guidance * 1000
  Tensor latents;    // (B, I, C)
  Tensor context;    // (B, T, context_dim), from T5
  Tensor pooled;     // (1, B, vec_dim), from CLIP
  Tensor pe;         // (T + I, D / 2, 2)

  // Modulation of all steps, computed before the loop.
  Tensor embedding;                // (1, max(S, B), 256), sinusoids
  Tensor vec_parts;                // (2, max(S, B), H), while vec is being put together
  Tensor vec;                      // (S, B, H); after prepare: silu(vec)
  std::vector<Tensor> img_mod;     // per double block: (S, B, 6H)
  std::vector<Tensor> txt_mod;     // per double block: (S, B, 6H)
  std::vector<Tensor> single_mod;  // per single block: (S, B, 3H)
  Tensor final_mod;                // (S, B, 2H)

  // The residual stream, text rows first, and its scratch space. Of the type of activations; what feeds a block's linear
  // layers comes in theirs.
  Tensor x;             // (B, T + I, H)
  ScaledRows normed;    // (B, T + I, H)
  Tensor final_normed;  // (B, I, H)
  Tensor qkv;           // (B, T + I, 3H)
  Tensor qk_e4m3;       // (B, T + I, 2H): queries and keys of e4m3 attention, or none
  Tensor attn_mlp;      // (B, T + I, H + M): attention output without attn_mean, then the MLP's hidden layer
  Tensor attn_mean;     // (B, H): o_mean of e4m3 attention, or none
  Tensor velocity;      // (B, I, out_channels), the result
};

}  // namespace fx
