#include "models/flux/activations.h"

#include <algorithm>

#include "models/flux/positions.h"
#include "nn/taps.h"

namespace fx {
namespace {

// linear1 has the widest front of what reads the normed rows: qkv, the MLP's first layer, and it.
int64_t normed_front(const ModelTypes& types) { return types.front_of(ParamRole::block_linear, kLinear1Parts); }

}  // namespace

FluxActivations::FluxActivations(Ops& ops, const FluxConfig& config, const ModelTypes& types, const FluxSizes& wanted)
    : sizes(wanted), arena(ops.runtime()) {
  const int64_t B = sizes.batch, T = sizes.txt_tokens, I = sizes.img_tokens(), L = sizes.tokens(), S = sizes.steps;
  const int64_t H = config.hidden(), M = config.mlp_hidden();
  step = arena.i32({1});
  sigmas = arena.f32({S + 1});
  timesteps = arena.f32({S});
  guidance = arena.f32({1});
  latents = arena.f32({B, I, config.in_channels});
  context = arena.allocate(types.plain, {B, T, config.context_dim});
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

  x = arena.allocate(types.plain, {B, L, H});
  if (types.block_linear == DType::f8_e4m3) {
    const int64_t E = normed_front(types);
    const Tensor wide = arena.allocate(DType::f8_e4m3, {B, L, H + E});
    normed = {wide.slice(2, E, E + H), arena.f32({B, L}), E > 0 ? wide.slice(2, 0, E) : Tensor()};
  } else {
    normed = arena.allocate(types.plain, {B, L, H});
  }
  final_normed = arena.allocate(types.plain, {B, I, H});
  qkv = arena.allocate(types.plain, {B, L, 3 * H});
  if (types.e4m3_attention) {
    qk_e4m3 = arena.allocate(DType::f8_e4m3, {B, L, 2 * H});
    attn_mean = arena.allocate(types.plain, {B, H});
  }
  attn_mlp = arena.allocate(types.plain, {B, L, H + M});
  velocity = arena.allocate(types.plain, {B, I, config.out_channels});
}

size_t FluxActivations::bytes_for(const FluxConfig& config, const ModelTypes& types, const FluxSizes& sizes) {
  const int64_t H = config.hidden(), M = config.mlp_hidden(), rows = sizes.batch * sizes.tokens();
  const int64_t modulation = sizes.steps * sizes.batch * H * (12 * config.double_blocks + 3 * config.single_blocks + 5);
  const int64_t context = sizes.batch * sizes.txt_tokens * config.context_dim;
  return static_cast<size_t>(modulation) * sizeof(float) +
         static_cast<size_t>(rows * (7 * H + M) + context) * size_of(types.plain) +
         static_cast<size_t>(rows * normed_front(types));
}

}  // namespace fx
