#include "models/flux/blocks.h"

#include <cmath>

namespace fx {
namespace {

// One of q, k, v: columns `index` * H of a fused buffer (B, L, 3H) as (B, L, N, D).
Tensor heads_of(const Tensor& qkv, int index, int64_t heads, int64_t hidden) {
  return qkv.slice(2, index * hidden, (index + 1) * hidden).reshape({qkv.size(0), qkv.size(1), heads, hidden / heads});
}

// Norm and rope of the queries and keys of rows [begin, end), in place or to where attention in e4m3 reads them.
void norm_rope(Ops& ops, FluxActivations& a, int64_t begin, int64_t end, const Tensor& q_gain, const Tensor& k_gain,
               int64_t heads) {
  const int64_t H = a.x.size(2);
  const Tensor qkv = a.qkv.slice(1, begin, end);  // (B, l, 3H)
  QkNormRopeArgs args{.q = heads_of(qkv, 0, heads, H),
                      .k = heads_of(qkv, 1, heads, H),
                      .q_gain = q_gain,
                      .k_gain = k_gain,
                      .pe = a.pe.slice(0, begin, end)};
  if (a.qk_e4m3.defined()) {
    const Tensor narrow = a.qk_e4m3.slice(1, begin, end);  // (B, l, 2H)
    args.q_out = heads_of(narrow, 0, heads, H);
    args.k_out = heads_of(narrow, 1, heads, H);
  }
  ops.qk_norm_rope(args);
}

Linear block_linear(const ParamScope& scope, int64_t in, int64_t out, int64_t parts = 1) {
  return Linear(scope, in, out, true, ParamRole::block_linear, parts);
}

// y = the modulated norm of x's rows, in the form in which `normed` comes.
void norm(Ops& ops, const Tensor& x, const Modulation& mod, const ScaledRows& normed) {
  ops.ln_modulate({.x = x, .shift = mod.shift, .scale = mod.scale, .y = normed.values, .y_scale = normed.scale});
}

// Attention over all rows of a.qkv, into the first H columns of a.attn_mlp and a.attn_mean.
void joint_attention(Ops& ops, FluxActivations& a, int64_t heads) {
  const int64_t H = a.x.size(2);
  const bool narrow = a.qk_e4m3.defined();
  const Tensor& qk = narrow ? a.qk_e4m3 : a.qkv;
  const Tensor q = heads_of(qk, 0, heads, H);                     // (B, L, N, D)
  const Tensor o = a.attn_mlp.slice(2, 0, H).reshape(q.shape());  // (B, L, N, D)
  ops.attention({.q = q,
                 .k = heads_of(qk, 1, heads, H),
                 .v = heads_of(a.qkv, 2, heads, H),
                 .o = o,
                 .o_mean = narrow ? a.attn_mean.reshape({q.size(0), heads, q.size(3)}) : Tensor(),
                 .e4m3 = narrow,
                 .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(q.size(3))))});
}

}  // namespace

Modulation modulation(const Tensor& table, const Tensor& step, int64_t index, int64_t hidden) {
  const auto columns = [&](int64_t i) {
    return StepVector{table.slice(2, (3 * index + i) * hidden, (3 * index + i + 1) * hidden), step};
  };
  return {.shift = columns(0), .scale = columns(1), .gate = columns(2)};
}

StreamWeights::StreamWeights(const ParamScope& block, std::string_view stream, const FluxConfig& config)
    : mod(block / (std::string(stream) + "_mod.lin"), config.hidden(), 6 * config.hidden(), true,
          ParamRole::modulation),
      qkv(block_linear(block / (std::string(stream) + "_attn.qkv"), config.hidden(), 3 * config.hidden(), kQkvParts)),
      proj(block_linear(block / (std::string(stream) + "_attn.proj"), config.hidden(), config.hidden())),
      mlp_in(block_linear(block / (std::string(stream) + "_mlp.0"), config.hidden(), config.mlp_hidden())),
      mlp_out(block_linear(block / (std::string(stream) + "_mlp.2"), config.mlp_hidden(), config.hidden())),
      q_gain(block.tensor(std::string(stream) + "_attn.norm.query_norm.scale", {config.head_dim})),
      k_gain(block.tensor(std::string(stream) + "_attn.norm.key_norm.scale", {config.head_dim})) {}

DoubleBlock::DoubleBlock(const ParamScope& scope, const FluxConfig& config)
    : img_(scope, "img", config), txt_(scope, "txt", config), heads_(config.heads) {}

void DoubleBlock::modulate(Ops& ops, const Tensor& vec, const Tensor& img_mod, const Tensor& txt_mod) const {
  img_.mod(ops, vec, img_mod);
  txt_.mod(ops, vec, txt_mod);
}

void DoubleBlock::forward(Ops& ops, FluxActivations& a, const Tensor& img_mod, const Tensor& txt_mod) const {
  const int64_t T = a.sizes.txt_tokens, L = a.sizes.tokens(), H = a.x.size(2);
  struct Stream {
    const StreamWeights& weights;
    const Tensor& mod;
    int64_t begin, end;  // its rows of the joint buffers
  };
  const Stream streams[] = {{txt_, txt_mod, 0, T}, {img_, img_mod, T, L}};

  // Each stream prepares its queries, keys and values.
  for (const auto& [weights, table, begin, end] : streams) {
    const Modulation mod = modulation(table, a.step, 0, H);
    const ScaledRows normed = a.normed.rows(begin, end);  // (B, l, H)
    norm(ops, a.x.slice(1, begin, end), mod, normed);
    weights.qkv(ops, normed, a.qkv.slice(1, begin, end));
    norm_rope(ops, a, begin, end, weights.q_gain, weights.k_gain, heads_);
  }

  joint_attention(ops, a, heads_);

  // Each stream adds its share of the attention, then its MLP.
  for (const auto& [weights, table, begin, end] : streams) {
    const Tensor x = a.x.slice(1, begin, end);                                           // (B, l, H)
    const ScaledRows normed = a.normed.rows(begin, end);                                 // (B, l, H)
    const Tensor attn_mlp = a.attn_mlp.slice(1, begin, end);                             // (B, l, H + M)
    const Tensor mlp = attn_mlp.slice(2, H, attn_mlp.size(2));                           // (B, l, M)
    const ScaledRows attn = ScaledRows(attn_mlp.slice(2, 0, H)).with_mean(a.attn_mean);  // (B, l, H)
    weights.proj.add_gated(ops, attn, x, modulation(table, a.step, 0, H).gate);

    const Modulation mod = modulation(table, a.step, 1, H);
    norm(ops, x, mod, normed);
    weights.mlp_in(ops, normed, mlp, Activation::gelu_tanh);
    weights.mlp_out.add_gated(ops, mlp, x, mod.gate);
  }
}

SingleBlock::SingleBlock(const ParamScope& scope, const FluxConfig& config)
    : mod_(scope / "modulation.lin", config.hidden(), 3 * config.hidden(), true, ParamRole::modulation),
      linear1_(
          block_linear(scope / "linear1", config.hidden(), 3 * config.hidden() + config.mlp_hidden(), kLinear1Parts)),
      linear2_(block_linear(scope / "linear2", config.hidden() + config.mlp_hidden(), config.hidden())),
      q_gain_(scope.tensor("norm.query_norm.scale", {config.head_dim})),
      k_gain_(scope.tensor("norm.key_norm.scale", {config.head_dim})),
      heads_(config.heads) {}

void SingleBlock::forward(Ops& ops, FluxActivations& a, const Tensor& table) const {
  const int64_t H = a.x.size(2);
  const Modulation mod = modulation(table, a.step, 0, H);
  norm(ops, a.x, mod, a.normed);
  linear1_.split(ops, a.normed, a.qkv, a.attn_mlp.slice(2, H, a.attn_mlp.size(2)), Activation::gelu_tanh);
  norm_rope(ops, a, 0, a.sizes.tokens(), q_gain_, k_gain_, heads_);
  joint_attention(ops, a, heads_);
  linear2_.add_gated(ops, ScaledRows(a.attn_mlp).with_mean(a.attn_mean), a.x, mod.gate);
}

}  // namespace fx
