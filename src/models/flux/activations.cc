#include "models/flux/activations.h"

#include <algorithm>

#include "models/flux/positions.h"
#include "nn/taps.h"

namespace fx {

FluxActivations::FluxActivations(Ops& ops, const FluxConfig& config, const FluxSizes& wanted)
    : sizes(wanted), arena(ops.runtime()) {
  const int64_t B = sizes.batch, T = sizes.txt_tokens, I = sizes.img_tokens(), L = sizes.tokens(), S = sizes.steps;
  const int64_t H = config.hidden(), M = config.mlp_hidden();
  step = arena.i32({1});
  sigmas = arena.f32({S + 1});
  timesteps = arena.f32({S});
  guidance = arena.f32({1});
  latents = arena.f32({B, I, config.in_channels});
  context = arena.f32({B, T, config.context_dim});
  pooled = arena.f32({1, B, config.vec_dim});
  pe = arena.f32({L, config.head_dim / 2, 2});
  upload(ops, rope_table(config, T, sizes.rows, sizes.columns), pe);

  embedding = arena.f32({1, std::max(S, B), 256});
  vec_parts = arena.f32({2, std::max(S, B), H});
  vec = arena.f32({S, B, H});
  for (int64_t i = 0; i < config.double_blocks; ++i) {
    img_mod.push_back(arena.f32({S, B, 6 * H}));
    txt_mod.push_back(arena.f32({S, B, 6 * H}));
  }
  for (int64_t i = 0; i < config.single_blocks; ++i) single_mod.push_back(arena.f32({S, B, 3 * H}));
  final_mod = arena.f32({S, B, 2 * H});

  x = arena.f32({B, L, H});
  normed = arena.f32({B, L, H});
  qkv = arena.f32({B, L, 3 * H});
  attn_mlp = arena.f32({B, L, H + M});
  velocity = arena.f32({B, I, config.out_channels});
}

}  // namespace fx
