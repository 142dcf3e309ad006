#include "models/text/clip_text.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/arena.h"
#include "core/error.h"

namespace fx {

ClipText::Layer::Layer(const ParamScope& scope, const ClipConfig& c)
    : norm1(scope / "layer_norm1", c.hidden, c.eps),
      norm2(scope / "layer_norm2", c.hidden, c.eps),
      q(scope / "self_attn.q_proj", c.hidden, c.hidden),
      k(scope / "self_attn.k_proj", c.hidden, c.hidden),
      v(scope / "self_attn.v_proj", c.hidden, c.hidden),
      out(scope / "self_attn.out_proj", c.hidden, c.hidden),
      fc1(scope / "mlp.fc1", c.hidden, c.mlp_hidden),
      fc2(scope / "mlp.fc2", c.mlp_hidden, c.hidden) {}

ClipText::ClipText(ParamStore& store, const ClipConfig& config)
    : config_(config),
      activations_(store.activations()),
      token_embedding_(
          store.declare("text_model.embeddings.token_embedding.weight", {config.vocab, config.hidden}).tensor),
      position_embedding_(
          store.declare("text_model.embeddings.position_embedding.weight", {config.max_positions, config.hidden}).tensor),
      final_norm_(ParamScope(store, "text_model.final_layer_norm"), config.hidden, config.eps) {
  check(config.heads > 0 && config.hidden % config.heads == 0, ErrorCode::unsupported,
        "CLIP: hidden_size {} is not divisible by num_attention_heads {}", config.hidden, config.heads);
  const ParamScope root(store, "text_model.encoder.layers");
  for (int64_t i = 0; i < config.layers; ++i) layers_.emplace_back(root / i, config);
}

int64_t ClipText::pooled_position(const std::vector<int32_t>& ids) const {
  constexpr int64_t kLegacyEos = 2;
  const auto found = config_.eos_token == kLegacyEos
                         ? std::ranges::max_element(ids)
                         : std::ranges::find(ids, static_cast<int32_t>(config_.eos_token));
  return found == ids.end() ? 0 : found - ids.begin();
}

void ClipText::forward(Ops& ops, const std::vector<int32_t>& ids, const Tensor& pooled, Taps* taps) const {
  const auto L = static_cast<int64_t>(ids.size());
  const int64_t H = config_.hidden, N = config_.heads, D = H / N;
  check(L > 0 && L <= config_.max_positions, ErrorCode::invalid_argument,
        "CLIP: expected 1 to {} tokens, got {}", config_.max_positions, L);
  Arena arena(ops.runtime());
  const Tensor token_ids = arena.i32({1, L}), positions = arena.i32({1, L});
  const Tensor x = arena.allocate(activations_, {1, L, H}), normed = arena.allocate(activations_, {1, L, H}), attn = arena.allocate(activations_, {1, L, H});
  const Tensor q = arena.allocate(activations_, {1, L, H}), k = arena.allocate(activations_, {1, L, H}), v = arena.allocate(activations_, {1, L, H});
  const Tensor mlp = arena.allocate(activations_, {1, L, config_.mlp_hidden});
  const auto heads = [&](const Tensor& t) { return t.reshape({1, L, N, D}); };

  std::vector<int32_t> counting(ids.size());
  std::iota(counting.begin(), counting.end(), 0);
  upload(ops, ids, token_ids);
  upload(ops, counting, positions);
  ops.embed_rows({.ids = token_ids, .table = token_embedding_, .y = x});
  ops.embed_rows({.ids = positions, .table = position_embedding_, .y = x, .add = true});

  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    layer.norm1(ops, x, normed);
    layer.q(ops, normed, q);
    layer.k(ops, normed, k);
    layer.v(ops, normed, v);
    ops.attention({.q = heads(q),
                   .k = heads(k),
                   .v = heads(v),
                   .o = heads(attn),
                   .causal = true,
                   .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(D)))});
    layer.out.add_to(ops, attn, x);
    layer.norm2(ops, x, normed);
    layer.fc1(ops, normed, mlp, config_.activation);
    layer.fc2.add_to(ops, mlp, x);
    if (taps) taps->record(ops, "text_encoder.layers." + std::to_string(i), x);
  }

  const int64_t end = pooled_position(ids);
  final_norm_(ops, x.slice(1, end, end + 1), pooled);
  ops.runtime().synchronize();  // the arena goes away
}

}  // namespace fx
