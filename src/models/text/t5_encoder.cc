#include "models/text/t5_encoder.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace fx {

int32_t t5_relative_bucket(int64_t relative_position, int64_t buckets, int64_t max_distance) {
  const int64_t half = buckets / 2, exact = half / 2;
  const int64_t direction = relative_position > 0 ? half : 0;
  const int64_t distance = std::abs(relative_position);
  if (distance < exact) return static_cast<int32_t>(direction + distance);
  // In float, as the original does it: the rounding decides which bucket a boundary falls into.
  const float ratio = std::log(static_cast<float>(distance) / static_cast<float>(exact)) /
                      static_cast<float>(std::log(static_cast<double>(max_distance) / static_cast<double>(exact)));
  const int64_t logarithmic = exact + static_cast<int64_t>(ratio * static_cast<float>(half - exact));
  return static_cast<int32_t>(direction + std::min(logarithmic, half - 1));
}

T5Encoder::Block::Block(const ParamScope& scope, const T5Config& c)
    : attn_norm(scope / "layer.0.layer_norm", c.hidden, c.eps),
      mlp_norm(scope / "layer.1.layer_norm", c.hidden, c.eps),
      q(scope / "layer.0.SelfAttention.q", c.hidden, c.heads * c.head_dim, false),
      k(scope / "layer.0.SelfAttention.k", c.hidden, c.heads * c.head_dim, false),
      v(scope / "layer.0.SelfAttention.v", c.hidden, c.heads * c.head_dim, false),
      o(scope / "layer.0.SelfAttention.o", c.heads * c.head_dim, c.hidden, false),
      wi_0(scope / "layer.1.DenseReluDense.wi_0", c.hidden, c.mlp_hidden, false),
      wi_1(scope / "layer.1.DenseReluDense.wi_1", c.hidden, c.mlp_hidden, false),
      wo(scope / "layer.1.DenseReluDense.wo", c.mlp_hidden, c.hidden, false) {}

T5Encoder::T5Encoder(ParamStore& store, const T5Config& config)
    : config_(config),
      activations_(store.activations()),
      embedding_(store.declare("shared.weight", {config.vocab, config.hidden}).tensor),
      bias_table_(store.declare("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                                {config.buckets, config.heads}).tensor),
      final_norm_(ParamScope(store, "encoder.final_layer_norm"), config.hidden, config.eps) {
  check(config.buckets >= 4 && config.buckets % 4 == 0 && config.max_distance > config.buckets / 4,
        ErrorCode::unsupported, "T5: cannot share {} relative_attention_num_buckets over a distance of {}",
        config.buckets, config.max_distance);
  const ParamScope root(store, "encoder.block");
  for (int64_t i = 0; i < config.layers; ++i) blocks_.emplace_back(root / i, config);
}

Tensor T5Encoder::relative_bias(Ops& ops, Arena& arena, int64_t L) const {
  std::vector<int32_t> buckets;
  buckets.reserve(static_cast<size_t>(L * L));
  for (int64_t query = 0; query < L; ++query) {
    for (int64_t key = 0; key < L; ++key) {
      buckets.push_back(t5_relative_bucket(key - query, config_.buckets, config_.max_distance));
    }
  }
  const Tensor ids = arena.i32({1, L * L});
  const Tensor rows = arena.allocate(activations_, {1, L * L, config_.heads});
  const Tensor bias = arena.allocate(activations_, {config_.heads, L, L});
  upload(ops, buckets, ids);
  ops.embed_rows({.ids = ids, .table = bias_table_, .y = rows});
  const Tensor by_head = rows.reshape({L, L, config_.heads}).transpose(1, 2).transpose(0, 1);  // (N, L, L)
  ops.copy({.x = by_head, .y = bias});
  return bias;
}

void T5Encoder::forward(Ops& ops, const std::vector<int32_t>& ids, const Tensor& y, Taps* taps) const {
  const auto L = static_cast<int64_t>(ids.size());
  const int64_t N = config_.heads, D = config_.head_dim;
  check(L > 0, ErrorCode::invalid_argument, "T5: expected at least one token");
  Arena arena(ops.runtime());
  const Tensor token_ids = arena.i32({1, L});
  const Tensor x = arena.allocate(activations_, {1, L, config_.hidden}), normed = arena.allocate(activations_, {1, L, config_.hidden});
  const Tensor q = arena.allocate(activations_, {1, L, N * D}), k = arena.allocate(activations_, {1, L, N * D});
  const Tensor v = arena.allocate(activations_, {1, L, N * D}), attn = arena.allocate(activations_, {1, L, N * D});
  const Tensor mlp = arena.allocate(activations_, {1, L, config_.mlp_hidden}), gate = arena.allocate(activations_, {1, L, config_.mlp_hidden});
  const auto heads = [&](const Tensor& t) { return t.reshape({1, L, N, D}); };

  upload(ops, ids, token_ids);
  ops.embed_rows({.ids = token_ids, .table = embedding_, .y = x});
  const Tensor bias = relative_bias(ops, arena, L);  // (N, L, L)

  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    block.attn_norm(ops, x, normed);
    block.q(ops, normed, q);
    block.k(ops, normed, k);
    block.v(ops, normed, v);
    // T5 does not divide by sqrt(D): the scale is in its initialisation.
    ops.attention({.q = heads(q), .k = heads(k), .v = heads(v), .o = heads(attn), .bias = bias, .scale = 1.0f});
    block.o.add_to(ops, attn, x);
    block.mlp_norm(ops, x, normed);
    block.wi_0(ops, normed, gate, config_.activation);
    block.wi_1(ops, normed, mlp);
    ops.multiply({.a = gate, .b = mlp, .y = mlp});
    block.wo.add_to(ops, mlp, x);
    if (taps) taps->record(ops, "text_encoder_2.block." + std::to_string(i), x);
  }
  final_norm_(ops, x, y);
  ops.runtime().synchronize();  // the arena goes away
}

}  // namespace fx
