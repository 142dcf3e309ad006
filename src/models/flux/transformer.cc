#include "models/flux/transformer.h"

namespace fx {
namespace {

constexpr int64_t kTimestepWidth = 256;  // of the sinusoidal embedding, before the MLP

const FluxConfig& validated(const FluxConfig& config) {
  validate(config);
  return config;
}

void tap(Taps* taps, Ops& ops, const std::string& name, const Tensor& tensor) {
  if (taps) taps->record(ops, name, tensor);
}

}  // namespace

MlpEmbedder::MlpEmbedder(const ParamScope& scope, int64_t in, int64_t hidden)
    : in_layer_(scope / "in_layer", in, hidden), out_layer_(scope / "out_layer", hidden, hidden) {}

void MlpEmbedder::operator()(Ops& ops, const Tensor& x, const Tensor& scratch, const Tensor& y) const {
  in_layer_(ops, x, scratch, Activation::silu);
  out_layer_(ops, scratch, y);
}

Flux::Flux(ParamStore& store, const FluxConfig& config)
    : config_(validated(config)),
      store_(&store),
      img_in_(ParamScope(store) / "img_in", config.in_channels, config.hidden()),
      txt_in_(ParamScope(store) / "txt_in", config.context_dim, config.hidden()),
      time_in_(ParamScope(store) / "time_in", kTimestepWidth, config.hidden()),
      vector_in_(ParamScope(store) / "vector_in", config.vec_dim, config.hidden()),
      final_modulation_(ParamScope(store) / "final_layer.adaLN_modulation.1", config.hidden(), 2 * config.hidden()),
      final_linear_(ParamScope(store) / "final_layer.linear", config.hidden(), config.out_channels) {
  const ParamScope root(store);
  if (config.guidance_embed) guidance_in_.emplace(root / "guidance_in", kTimestepWidth, config.hidden());
  for (int64_t i = 0; i < config.double_blocks; ++i) double_blocks_.emplace_back(root / "double_blocks" / i, config);
  for (int64_t i = 0; i < config.single_blocks; ++i) single_blocks_.emplace_back(root / "single_blocks" / i, config);
}

void Flux::prepare(Ops& ops, FluxActivations& a, Taps* taps) const {
  const int64_t S = a.sizes.steps, B = a.sizes.batch, H = config_.hidden();
  const Tensor scratch = a.vec_parts.slice(0, 0, 1), part = a.vec_parts.slice(0, 1, 2);  // (1, max(S, B), H)

  // vec = time_in(timestep) + guidance_in(guidance) + vector_in(pooled), for each step and picture.
  ops.timestep_embedding({.t = a.timesteps, .y = a.embedding.slice(1, 0, S)});
  time_in_(ops, a.embedding.slice(1, 0, S), scratch.slice(1, 0, S), part.slice(1, 0, S));
  for (int64_t b = 0; b < B; ++b) {
    ops.copy({.x = part.slice(1, 0, S).reshape({S, 1, H}), .y = a.vec.slice(1, b, b + 1)});
  }
  if (guidance_in_) {
    ops.timestep_embedding({.t = a.guidance, .y = a.embedding.slice(1, 0, 1)});
    (*guidance_in_)(ops, a.embedding.slice(1, 0, 1), scratch.slice(1, 0, 1), part.slice(1, 0, 1));
    for (int64_t b = 0; b < B; ++b) {
      const Tensor vec = a.vec.slice(1, b, b + 1);  // (S, 1, H)
      ops.add({.a = vec, .b = part.slice(1, 0, 1), .y = vec});
    }
  }
  vector_in_(ops, a.pooled, scratch.slice(1, 0, B), part.slice(1, 0, B));
  ops.add({.a = a.vec, .b = part.slice(1, 0, B), .y = a.vec});
  tap(taps, ops, "vec", a.vec);

  ops.activate({.x = a.vec, .y = a.vec, .activation = Activation::silu});
  for (size_t i = 0; i < double_blocks_.size(); ++i) double_blocks_[i].modulate(ops, a.vec, a.img_mod[i], a.txt_mod[i]);
  for (size_t i = 0; i < single_blocks_.size(); ++i) single_blocks_[i].modulate(ops, a.vec, a.single_mod[i]);
  final_modulation_(ops, a.vec, a.final_mod);
}

uint64_t Flux::step_signature() const {
  return signature_of([](ParamRole role) { return role != ParamRole::modulation; });
}

uint64_t Flux::prepare_signature() const {
  return signature_of([](ParamRole role) { return role != ParamRole::block_linear; });
}

uint64_t Flux::signature_of(bool (*counts)(ParamRole)) const {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  const auto mix = [&](uint64_t value) { hash = (hash ^ value) * 0x100000001b3; };
  for (const LoraSlot& slot : store_->slots()) {
    if (!counts(slot.weight->role)) continue;
    if (slot.weight->next.defined()) mix(reinterpret_cast<uintptr_t>(slot.weight->tensor.raw()));
    if (slot.weight->front.defined()) mix(static_cast<uint64_t>(slot.front_columns));
    if (slot.merged || slot.front_columns > 0 || !slot.operand.defined()) continue;
    mix(reinterpret_cast<uintptr_t>(slot.operand.a.raw()));
    mix(static_cast<uint64_t>(slot.operand.a.size(0)));
    mix(reinterpret_cast<uintptr_t>(slot.operand.count.raw()));  // behind b
    mix(static_cast<uint64_t>(slot.operand.segments.size(0)));   // scales lie behind them
  }
  return hash;
}

void Flux::forward(Ops& ops, FluxActivations& a, Taps* taps) const {
  const int64_t T = a.sizes.txt_tokens, L = a.sizes.tokens(), H = config_.hidden();
  const Tensor txt = a.x.slice(1, 0, T), img = a.x.slice(1, T, L);  // (B, T, H), (B, I, H)
  // Where attention leaves its mean to whoever reads it, both together are its output.
  const auto tap_attention = [&](const std::string& path) {
    tap(taps, ops, path + ".attn", a.attn_mlp.slice(2, 0, H));  // (B, T + I, H)
    if (a.attn_mean.defined()) tap(taps, ops, path + ".attn_mean", a.attn_mean);
  };

  img_in_(ops, a.latents, img);
  txt_in_(ops, a.context, txt);
  tap(taps, ops, "img_in", img);
  tap(taps, ops, "txt_in", txt);

  for (size_t i = 0; i < double_blocks_.size(); ++i) {
    double_blocks_[i].forward(ops, a, a.img_mod[i], a.txt_mod[i]);
    const std::string path = "double_blocks." + std::to_string(i);
    tap_attention(path);
    tap(taps, ops, path + ".img", img);
    tap(taps, ops, path + ".txt", txt);
  }
  for (size_t i = 0; i < single_blocks_.size(); ++i) {
    single_blocks_[i].forward(ops, a, a.single_mod[i]);
    const std::string path = "single_blocks." + std::to_string(i);
    tap_attention(path);
    tap(taps, ops, path, a.x);
  }

  const StepVector shift{a.final_mod.slice(2, 0, H), a.step}, scale{a.final_mod.slice(2, H, 2 * H), a.step};
  ops.ln_modulate({.x = img, .shift = shift, .scale = scale, .y = a.final_normed});
  final_linear_(ops, a.final_normed, a.velocity);
  tap(taps, ops, "final_layer", a.velocity);
}

}  // namespace fx
