// The public half of every operation: check, then hand over to the back-end.
#include "ops/ops.h"

#include "ops/check.h"

namespace fx {
namespace {

void check_step(const OpCheck& check, std::string_view operand, const StepVector& v, int64_t batch, int64_t channels) {
  check.rank(operand, v.table, 3);
  check.tensor(operand, v.table, {v.table.size(0), batch, channels});
  check.dense_rows(operand, v.table);
  check.tensor("step", v.step, {1}, DType::i32);
}

// Beside a weight (out, in) of this type.
void check_lora(const OpCheck& check, const LoraOperand& lora, int64_t out, int64_t in, DType weight) {
  if (!lora.defined()) return;
  const DType dtype = weight == DType::f32 ? DType::f32 : DType::bf16;
  check.rank("lora.a", lora.a, 2, dtype);
  const int64_t capacity = lora.a.size(0);
  check.tensor("lora.a", lora.a, {capacity, in}, dtype);
  check.rank("lora.b", lora.b, 1, dtype);
  check.tensor("lora.scale", lora.scale, {capacity});
  check.rank("lora.segments", lora.segments, 2, DType::i32);
  check.tensor("lora.segments", lora.segments, {lora.segments.size(0), 5}, DType::i32);
  check.tensor("lora.count", lora.count, {1}, DType::i32);
  for (const Tensor& t : {lora.a, lora.b, lora.scale, lora.segments}) check.dense("lora", t);
  check.that(lora.out == out, "lora.out like the rows of the weight");
}

void check_fold(const OpCheck& check, const FoldLoraArgs& a) {
  check.rank("weight_front", a.weight_front, 2, DType::f8_e4m3);
  check.dense_rows("weight_front", a.weight_front);
  const int64_t out = a.weight_front.size(0);
  check.tensor("weight_scale", a.weight_scale, {out});
  check.dense("weight_scale", a.weight_scale);
  check.rank("weight_down", a.weight_down, 2, DType::f8_e4m3);
  check.tensor("weight_down", a.weight_down, {a.weight_front.size(1), a.weight_down.size(1)}, DType::f8_e4m3);
  check.dense("weight_down", a.weight_down);
  check.tensor("column_scale", a.column_scale, {a.weight_front.size(1)});
  check.dense("column_scale", a.column_scale);
  if (a.lora.defined()) {
    check_lora(check, a.lora, out, a.weight_down.size(1), DType::f8_e4m3);
    check.tensor("room", a.room, {1});
    check.tensor("reach", a.reach, {1}, DType::i32);
    check.that(a.weight_down.size(1) % kFrontStep == 0 && a.weight_front.size(1) % kFrontStep == 0,
               "in and columns of the front as multiples of 16 with an operand");
  }
}

// Rows of e4m3 and more columns right before them.
void check_front(const OpCheck& check, std::string_view operand, const Tensor& rows, const Tensor& front,
                 int64_t columns) {
  Shape shape = rows.shape();
  const int last = rows.rank() - 1;
  shape[last] = columns;
  check.tensor(operand, front, shape, DType::f8_e4m3);
  check.dense_rows(operand, front);
  bool before = rows.raw() == front.data<uint8_t>() + columns;
  for (int axis = 0; axis < last; ++axis)
    before = before && (rows.size(axis) <= 1 || rows.stride(axis) == front.stride(axis));
  check.that(before, "a front right before the rows");
}

void check_fronts(const OpCheck& check, const LinearArgs& a, bool multiplies_in_e4m3) {
  if (!a.weight_front.defined()) {
    return check.that(!a.x_front.defined() && !a.weight_down.defined() && a.front_columns == 0,
                      "a front of x, weight_down and columns only with a front of the weight");
  }
  check.that(a.weight.dtype() == DType::f8_e4m3 && !a.weight_only,
             "a front only of a weight of f8_e4m3 that is not weight_only");
  check.rank("weight_front", a.weight_front, 2, DType::f8_e4m3);
  const int64_t columns = a.weight_front.size(1);
  check_front(check, "weight_front", a.weight, a.weight_front, columns);
  if (a.x.dtype() == DType::f8_e4m3) check_front(check, "x_front", a.x, a.x_front, columns);
  else check.that(!a.x_front.defined(), "a front of x with x of f8_e4m3 only");
  const int64_t out = a.weight.size(0), in = a.weight.size(1);
  check.tensor("weight_down", a.weight_down, {columns, in}, DType::f8_e4m3);
  check.dense("weight_down", a.weight_down);
  check.that(a.front_columns >= 0 && a.front_columns <= columns, "as many columns as the front has, or fewer");
  if (a.front_columns == 0) return;
  check.that(multiplies_in_e4m3, "no columns of a front where the device does not multiply in f8_e4m3");
  check.that(
      out % kFrontStep == 0 && in % kFrontStep == 0 && columns % kFrontStep == 0 && a.front_columns % kFrontStep == 0,
      "in, out and columns of the front as multiples of 16 where it is used");
}

void check_mean(const OpCheck& check, const LinearArgs& a) {
  if (!a.x_mean.defined()) return;
  check.rank("x_mean", a.x_mean, 2, a.weight.dtype() == DType::f32 ? DType::f32 : DType::bf16);
  check.that(a.x_mean.size(0) == a.x.size(0) && a.x_mean.size(1) <= a.x.size(2),
             "x_mean of x's batch, no wider than x");
  check.dense("x_mean", a.x_mean);
}

// x and y of a row-wise operation: (B, L, C) each.
void check_rows(const OpCheck& check, const Tensor& x, const Tensor& y) {
  check.values_rank("x", x, 3);
  check.like("y", y, x.shape(), x);
  check.dense_rows("x", x);
  check.dense_rows("y", y);
}

void check_image(const OpCheck& check, std::string_view operand, const Tensor& x) {
  check.values_rank(operand, x, 4);
  check.dense(operand, x);
}

void check_latent_layout(const OpCheck& check, const LatentLayoutArgs& a) {
  check_image(check, "latents", a.latents);
  const Tensor& z = a.latents;
  check.that(z.size(1) % 2 == 0 && z.size(2) % 2 == 0, "an even height and width of the latents");
  check.tensor("packed", a.packed, {z.size(0), z.size(1) / 2 * (z.size(2) / 2), 4 * z.size(3)});
  check.dense("packed", a.packed);
}

}  // namespace

void Ops::linear(const LinearArgs& a) {
  const OpCheck check("linear", *this);
  check.that(a.x.rank() == 3 && a.weight.rank() == 2, "x of 3 axes and a weight of 2");
  const int64_t in = a.x.size(2), out = a.weight.size(0);
  check.scaled("x", a.x, {a.x.size(0), a.x.size(1), in}, a.x_scale);
  check.scaled("weight", a.weight, {out, in}, a.weight_scale);
  if (a.weight_front.defined()) check.dense_rows("weight", a.weight);
  else check.dense("weight", a.weight);
  check.dense_rows("x", a.x);
  check_mean(check, a);
  check.that(a.x.dtype() != DType::f8_e4m3 || (a.weight.dtype() == DType::f8_e4m3 && !a.weight_only),
             "x of f8_e4m3 only with a weight of it that is not weight_only");
  check.optional_values("bias", a.bias, {out});
  check.dense("bias", a.bias);
  check_lora(check, a.lora, out, in, a.weight.dtype());
  check_fronts(check, a, multiplies_in(DType::f8_e4m3));
  int64_t columns = 0;
  for (const LinearOutput& output : a.outputs) {
    if (!output.y.defined()) continue;
    check.values_rank("y", output.y, 3);
    check.values("y", output.y, {a.x.size(0), a.x.size(1), output.y.size(2)});
    check.dense_rows("y", output.y);
    columns += output.y.size(2);
  }
  check.that(a.outputs[0].y.defined() && columns == out, "outputs whose columns add up to the rows of the weight");
  check.that(!a.gate.defined() || a.add, "a gate only together with add");
  if (a.gate.defined()) check_step(check, "gate", a.gate, a.x.size(0), out);
  do_linear(a);
}

void Ops::attention(const AttentionArgs& a) {
  const OpCheck check("attention", *this);
  const bool narrow = a.e4m3 && a.q.defined() && a.q.dtype() == DType::f8_e4m3 && computes_in(DType::f8_e4m3);
  if (narrow) check.rank("q", a.q, 4, DType::f8_e4m3);
  else check.values_rank("q", a.q, 4);
  check.rank("k", a.k, 4, a.q.dtype());
  check.values_rank("v", a.v, 4);
  const int64_t batch = a.q.size(0), heads = a.q.size(2), head_size = a.q.size(3), keys = a.k.size(1);
  check.like("k", a.k, {batch, keys, heads, head_size}, a.q);
  check.like("v", a.v, a.k.shape(), narrow ? a.v : a.q);
  check.like("o", a.o, a.q.shape(), a.v);
  if (a.bias.defined()) check.like("bias", a.bias, {heads, a.q.size(1), keys}, a.q);
  check.that(!a.e4m3 || (a.v.dtype() == DType::bf16 && !a.bias.defined() && !a.causal),
             "bf16 without bias and mask for attention in f8_e4m3");
  if (a.o_mean.defined()) {
    check.that(a.e4m3, "o_mean only with attention in f8_e4m3");
    check.like("o_mean", a.o_mean, {batch, heads, head_size}, a.o);
    check.dense("o_mean", a.o_mean);
  }
  for (const Tensor& t : {a.q, a.k, a.v, a.o}) check.dense_rows("q, k, v, o", t);
  if (a.bias.defined()) check.dense_rows("bias", a.bias);
  check.that(keys > 0 && (!a.causal || a.q.size(1) == keys), "at least one key, and as many queries as keys if causal");
  do_attention(a);
}

void Ops::conv2d(const Conv2dArgs& a) {
  const OpCheck check("conv2d", *this);
  check_image(check, "x", a.x);
  check_image(check, "weight", a.weight);
  const int64_t out = a.weight.size(0), kh = a.weight.size(1), kw = a.weight.size(2);
  check.like("weight", a.weight, {out, kh, kw, a.x.size(3)}, a.x);
  if (a.bias.defined()) check.like("bias", a.bias, {out}, a.x);
  check.dense("bias", a.bias);
  const int64_t pad = a.pad_begin + a.pad_end;
  check.that(a.stride > 0 && a.pad_begin >= 0 && a.pad_end >= 0, "a positive stride and no negative padding");
  check.that(a.x.size(1) + pad >= kh && a.x.size(2) + pad >= kw, "a kernel that fits the padded image");
  check.like("y", a.y,
             {a.x.size(0), (a.x.size(1) + pad - kh) / a.stride + 1, (a.x.size(2) + pad - kw) / a.stride + 1, out}, a.x);
  check.dense("y", a.y);
  do_conv2d(a);
}

void Ops::quantize_rows(const QuantizeRowsArgs& a) {
  const OpCheck check("quantize_rows", *this);
  check.values_rank("x", a.x, 2);
  check.that(a.y.defined() && a.y.dtype() == DType::f8_e4m3, "y of f8_e4m3");
  check.scaled("y", a.y, a.x.shape(), a.scale);
  check.dense("x", a.x);
  check.dense_rows("y", a.y);
  do_quantize_rows(a);
}

void Ops::merge_lora(const MergeLoraArgs& a) {
  const OpCheck check("merge_lora", *this);
  check.values_rank("base", a.base, 2);
  check.scaled("weight", a.weight, a.base.shape(), a.weight_scale);
  check.that(a.weight.dtype() == DType::f8_e4m3 || a.weight.dtype() == a.base.dtype(),
             "a weight of the base's type or f8_e4m3");
  for (const Tensor& t : {a.base, a.weight}) check.dense("base, weight", t);
  check_lora(check, a.lora, a.base.size(0), a.base.size(1), a.base.dtype());
  do_merge_lora(a);
}

void Ops::fold_loras(const FoldLorasArgs& a) {
  const OpCheck check("fold_lora", *this);
  for (const FoldLoraArgs& layer : a.layers) check_fold(check, layer);
  do_fold_loras(a);
}

void Ops::do_quantize_rows(const QuantizeRowsArgs&) {
  fail(ErrorCode::unsupported, "[quantize_rows] the back-end {} computes in f32 alone", backend_name());
}

void Ops::do_merge_lora(const MergeLoraArgs&) {
  fail(ErrorCode::unsupported, "[merge_lora] the back-end {} merges on the host", backend_name());
}

void Ops::do_fold_loras(const FoldLorasArgs&) {
  fail(ErrorCode::unsupported, "[fold_lora] the back-end {} has no products in f8_e4m3", backend_name());
}

void Ops::ln_modulate(const LnModulateArgs& a) {
  const OpCheck check("ln_modulate", *this);
  check.values_rank("x", a.x, 3);
  check.scaled("y", a.y, a.x.shape(), a.y_scale);
  check.that(a.y.dtype() == DType::f8_e4m3 || a.y.dtype() == a.x.dtype(), "y of x's type or f8_e4m3");
  check.dense_rows("x", a.x);
  check.dense_rows("y", a.y);
  check_step(check, "shift", a.shift, a.x.size(0), a.x.size(2));
  check_step(check, "scale", a.scale, a.x.size(0), a.x.size(2));
  do_ln_modulate(a);
}

void Ops::layer_norm(const LayerNormArgs& a) {
  const OpCheck check("layer_norm", *this);
  check_rows(check, a.x, a.y);
  check.like("gain", a.gain, {a.x.size(2)}, a.x);
  check.dense("gain", a.gain);
  check.like("bias", a.bias, {a.x.size(2)}, a.x);
  check.dense("bias", a.bias);
  do_layer_norm(a);
}

void Ops::rms_norm(const RmsNormArgs& a) {
  const OpCheck check("rms_norm", *this);
  check_rows(check, a.x, a.y);
  check.like("gain", a.gain, {a.x.size(2)}, a.x);
  check.dense("gain", a.gain);
  do_rms_norm(a);
}

void Ops::qk_norm_rope(const QkNormRopeArgs& a) {
  const OpCheck check("qk_norm_rope", *this);
  check.values_rank("q", a.q, 4);
  const int64_t head_size = a.q.size(3);
  check.that(head_size % 2 == 0, "an even head size");
  check.like("k", a.k, a.q.shape(), a.q);
  check.like("q_gain", a.q_gain, {head_size}, a.q);
  check.dense("q_gain", a.q_gain);
  check.like("k_gain", a.k_gain, {head_size}, a.q);
  check.dense("k_gain", a.k_gain);
  check.tensor("pe", a.pe, {a.q.size(1), head_size / 2, 2});
  check.dense("pe", a.pe);
  check.dense_rows("q", a.q);
  check.dense_rows("k", a.k);
  check.that(a.q_out.defined() == a.k_out.defined(), "both outputs or none");
  if (a.q_out.defined()) {
    check.that(computes_in(DType::f8_e4m3) && a.q.dtype() == DType::bf16, "bf16 for outputs of f8_e4m3");
    check.tensor("q_out", a.q_out, a.q.shape(), DType::f8_e4m3);
    check.tensor("k_out", a.k_out, a.q.shape(), DType::f8_e4m3);
    check.dense_rows("q_out", a.q_out);
    check.dense_rows("k_out", a.k_out);
  }
  do_qk_norm_rope(a);
}

void Ops::group_norm(const GroupNormArgs& a) {
  const OpCheck check("group_norm", *this);
  check_image(check, "x", a.x);
  check.like("y", a.y, a.x.shape(), a.x);
  check.dense("y", a.y);
  check.that(a.groups > 0 && a.x.size(3) % a.groups == 0, "channels divisible by the groups");
  check.like("gain", a.gain, {a.x.size(3)}, a.x);
  check.dense("gain", a.gain);
  check.like("bias", a.bias, {a.x.size(3)}, a.x);
  check.dense("bias", a.bias);
  do_group_norm(a);
}

void Ops::activate(const ActivateArgs& a) {
  check_rows(OpCheck("activate", *this), a.x, a.y);
  do_activate(a);
}

namespace {
void check_binary(const OpCheck& check, const BinaryArgs& a) {
  check_rows(check, a.a, a.y);
  check.values_rank("b", a.b, 3);
  const int64_t batch = a.b.size(0) == 1 ? 1 : a.a.size(0);
  check.like("b", a.b, {batch, a.a.size(1), a.a.size(2)}, a.a);
  check.dense_rows("b", a.b);
}
}  // namespace

void Ops::add(const BinaryArgs& a) {
  check_binary(OpCheck("add", *this), a);
  do_add(a);
}

void Ops::multiply(const BinaryArgs& a) {
  check_binary(OpCheck("multiply", *this), a);
  do_multiply(a);
}

void Ops::copy(const CopyArgs& a) {
  const OpCheck check("copy", *this);
  check.that(a.x.defined(), "an input");
  const auto converts = [&](DType dtype) {
    return dtype == DType::f16 ? computes_in(DType::bf16) : check.takes(dtype);
  };
  const bool converted = a.y.defined() && converts(a.x.dtype()) && converts(a.y.dtype());
  check.tensor("y", a.y, a.x.shape(), converted ? a.y.dtype() : a.x.dtype());
  do_copy(a);
}

void Ops::embed_rows(const EmbedRowsArgs& a) {
  const OpCheck check("embed_rows", *this);
  check.rank("ids", a.ids, 2, DType::i32);
  check.values_rank("table", a.table, 2);
  check.dense("ids", a.ids);
  check.dense("table", a.table);
  check.like("y", a.y, {a.ids.size(0), a.ids.size(1), a.table.size(1)}, a.table);
  check.dense_rows("y", a.y);
  do_embed_rows(a);
}

void Ops::timestep_embedding(const TimestepEmbeddingArgs& a) {
  const OpCheck check("timestep_embedding", *this);
  check.rank("t", a.t, 1);
  check.rank("y", a.y, 3);
  check.tensor("y", a.y, {1, a.t.size(0), a.y.size(2)});
  check.dense("y", a.y);
  check.that(a.y.size(2) % 2 == 0, "an even width");
  do_timestep_embedding(a);
}

void Ops::unpack_latents(const LatentLayoutArgs& a) {
  check_latent_layout(OpCheck("unpack_latents", *this), a);
  do_unpack_latents(a);
}

void Ops::pack_latents(const LatentLayoutArgs& a) {
  check_latent_layout(OpCheck("pack_latents", *this), a);
  do_pack_latents(a);
}

void Ops::upsample2x(const Upsample2xArgs& a) {
  const OpCheck check("upsample2x", *this);
  check_image(check, "x", a.x);
  check.like("y", a.y, {a.x.size(0), 2 * a.x.size(1), 2 * a.x.size(2), a.x.size(3)}, a.x);
  check.dense("y", a.y);
  do_upsample2x(a);
}

void Ops::to_rgb8(const ToRgb8Args& a) {
  const OpCheck check("to_rgb8", *this);
  check_image(check, "x", a.x);
  check.tensor("y", a.y, a.x.shape(), DType::u8);
  check.dense("y", a.y);
  do_to_rgb8(a);
}

void Ops::euler_step(const EulerStepArgs& a) {
  const OpCheck check("euler_step", *this);
  check.rank("sample", a.sample, 3);
  check.values("velocity", a.velocity, a.sample.shape());
  check.dense_rows("sample", a.sample);
  check.dense_rows("velocity", a.velocity);
  check.rank("sigmas", a.sigmas, 1);
  check.tensor("step", a.step, {1}, DType::i32);
  do_euler_step(a);
}

void Ops::advance_step(const AdvanceStepArgs& a) {
  OpCheck("advance_step", *this).tensor("step", a.step, {1}, DType::i32);
  do_advance_step(a);
}

}  // namespace fx
