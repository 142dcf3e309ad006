// Every check of src/ops/ops.cc, provoked: valid arguments with one thing wrong give the message that names it.
#include <gtest/gtest.h>

#include <array>

#include "backends/make_ops.h"
#include "support/dry_ops.h"
#include "support/expect_error.h"

namespace fx::test {
namespace {

// All tensors share one block: operations that are refused never look at it.
Tensor t(const Shape& shape, DType dtype = DType::f32) {
  alignas(64) static std::array<float, 1 << 16> block{};
  return Tensor(block.data(), dtype, shape);
}
// Last axis strided.
Tensor sparse(const Shape& shape) {
  Shape wide = shape;
  wide[-1] = shape[shape.rank() - 1] * 2;
  std::array<int64_t, kMaxRank> split{};
  for (int i = 0; i < shape.rank(); ++i) split[i] = shape[i];
  split[shape.rank()] = 2;
  const Tensor view = t(Shape(std::span(split.data(), shape.rank() + 1)));
  return view.slice(shape.rank(), 0, 1).reshape(shape);
}
Tensor i32(const Shape& shape) { return t(shape, DType::i32); }
Tensor bf16(const Shape& shape) { return t(shape, DType::bf16); }
Tensor e4m3(const Shape& shape) { return t(shape, DType::f8_e4m3); }
StepVector step_rows(int64_t batch, int64_t channels) { return {t({5, batch, channels}), i32({1})}; }

struct Case {
  std::string message;
  std::function<void(Ops&)> call;
};

using Cases = std::vector<Case>;

// Adds cases of one operation: valid arguments, with one thing changed.
template <class Args>
struct Breaker {
  Cases& cases;
  std::string op;
  void (Ops::*method)(const Args&);
  Args valid;

  void operator()(const std::string& message, const std::function<void(Args&)>& change) const {
    Args args = valid;
    change(args);
    cases.push_back({"[" + op + "] " + message, [m = method, args](Ops& ops) { (ops.*m)(args); }});
  }
};

Cases linear_errors() {
  LinearArgs valid{.x = t({2, 3, 8}),
                   .weight = t({6, 8}),
                   .bias = t({6}),
                   .lora = {t({4, 8}), t({48}), t({4}), i32({2, 5}), i32({1}), 6},
                   .outputs = {{{t({2, 3, 6})}}},
                   .gate = {}};
  Cases cases;
  const Breaker<LinearArgs> add{cases, "linear", &Ops::linear, valid};
  add("expected x of 3 axes and a weight of 2", [](auto& a) { a.x = {}; });
  add("expected x of 3 axes and a weight of 2", [](auto& a) { a.weight = t({6}); });
  add("weight: expected (6, 8) f32, got (6, 7) f32", [](auto& a) { a.weight = t({6, 7}); });
  add("weight: expected contiguous memory", [](auto& a) { a.weight = t({8, 6}).transpose(0, 1); });
  add("x: expected a dense last axis, got stride 2", [](auto& a) { a.x = sparse({2, 3, 8}); });
  add("bias: expected (6) f32, got (5) f32", [](auto& a) { a.bias = t({5}); });
  add("bias: expected contiguous memory", [](auto& a) { a.bias = sparse({6}); });
  add("lora.a: expected a tensor of 2 axes", [](auto& a) { a.lora.a = t({4}); });
  add("lora.a: expected (4, 8) f32, got (4, 9) f32", [](auto& a) { a.lora.a = t({4, 9}); });
  add("lora.b: expected a tensor of 1 axes of f32, got (6, 8) f32", [](auto& a) { a.lora.b = t({6, 8}); });
  add("lora.scale: expected (4) f32, got none", [](auto& a) { a.lora.scale = {}; });
  add("lora.segments: expected a tensor of 2 axes of i32, got (2, 5) f32", [](auto& a) {
    a.lora.segments = t({2, 5});
  });
  add("lora.segments: expected (2, 5) i32, got (2, 4) i32", [](auto& a) { a.lora.segments = i32({2, 4}); });
  add("lora.count: expected (1) i32, got (2) i32", [](auto& a) { a.lora.count = i32({2}); });
  add("lora: expected contiguous memory", [](auto& a) { a.lora.scale = sparse({4}); });
  add("lora: expected contiguous memory", [](auto& a) { a.lora.b = sparse({48}); });
  add("expected lora.out like the rows of the weight", [](auto& a) { a.lora.out = 5; });
  add("y: expected a tensor of 3 axes", [](auto& a) { a.outputs[0].y = t({6, 6}); });
  add("y: expected (2, 3, 6) f32, got (2, 4, 6) f32", [](auto& a) { a.outputs[0].y = t({2, 4, 6}); });
  add("y: expected a dense last axis", [](auto& a) { a.outputs[0].y = sparse({2, 3, 6}); });
  add("expected outputs whose columns add up", [](auto& a) { a.outputs[1].y = t({2, 3, 1}); });
  add("expected outputs whose columns add up", [](auto& a) { std::swap(a.outputs[0], a.outputs[1]); });
  add("expected a gate only together with add", [](auto& a) { a.gate = step_rows(2, 6); });
  add("gate: expected a tensor of 3 axes", [](auto& a) { a.add = true, a.gate = {t({6}), i32({1})}; });
  add("gate: expected (5, 2, 6) f32, got (5, 1, 6) f32", [](auto& a) { a.add = true, a.gate = step_rows(1, 6); });
  add("gate: expected a dense last axis", [](auto& a) { a.add = true, a.gate = {sparse({5, 2, 6}), i32({1})}; });
  add("step: expected (1) i32, got none", [](auto& a) { a.add = true, a.gate = {t({5, 2, 6}), {}}; });
  return cases;
}

Cases attention_errors() {
  AttentionArgs valid{
      .q = t({2, 5, 3, 8}), .k = t({2, 7, 3, 8}), .v = t({2, 7, 3, 8}), .o = t({2, 5, 3, 8}), .bias = {}};
  Cases cases;
  const Breaker<AttentionArgs> add{cases, "attention", &Ops::attention, valid};
  add("q: expected a tensor of 4 axes", [](auto& a) { a.q = t({2, 5, 24}); });
  add("k: expected a tensor of 4 axes", [](auto& a) { a.k = {}; });
  add("k: expected (2, 7, 3, 8) f32, got (2, 7, 3, 6) f32", [](auto& a) { a.k = t({2, 7, 3, 6}); });
  add("v: expected (2, 7, 3, 8) f32, got (2, 6, 3, 8) f32", [](auto& a) { a.v = t({2, 6, 3, 8}); });
  add("o: expected (2, 5, 3, 8) f32, got (2, 7, 3, 8) f32", [](auto& a) { a.o = t({2, 7, 3, 8}); });
  add("bias: expected (3, 5, 7) f32, got (1, 5, 7) f32", [](auto& a) { a.bias = t({1, 5, 7}); });
  add("q, k, v, o: expected a dense last axis", [](auto& a) { a.v = sparse({2, 7, 3, 8}); });
  add("bias: expected a dense last axis", [](auto& a) { a.bias = sparse({3, 5, 7}); });
  add("expected at least one key, and as many queries", [](auto& a) { a.causal = true; });
  add("expected at least one key", [](auto& a) { a.k = a.v = t({2, 0, 3, 8}); });
  return cases;
}

Cases image_errors() {
  Cases cases;
  const Conv2dArgs conv{.x = t({2, 6, 5, 4}), .weight = t({7, 3, 3, 4}), .bias = t({7}), .y = t({2, 6, 5, 7})};
  const GroupNormArgs norm{.x = t({2, 3, 3, 8}), .gain = t({8}), .bias = t({8}), .y = t({2, 3, 3, 8}), .groups = 4};
  const LatentLayoutArgs pack{.packed = t({2, 6, 16}), .latents = t({2, 4, 6, 4})};
  const Upsample2xArgs upsample{.x = t({1, 2, 3, 4}), .y = t({1, 4, 6, 4})};
  const ToRgb8Args rgb{.x = t({1, 2, 2, 3}), .y = t({1, 2, 2, 3}, DType::u8)};
  const Tensor strided = t({2, 6, 5, 8}).slice(3, 0, 4);
  const Breaker<Conv2dArgs> break_conv2d{cases, "conv2d", &Ops::conv2d, conv};
  const Breaker<GroupNormArgs> break_group_norm{cases, "group_norm", &Ops::group_norm, norm};
  const Breaker<LatentLayoutArgs> break_pack_latents{cases, "pack_latents", &Ops::pack_latents, pack};
  const Breaker<LatentLayoutArgs> break_unpack_latents{cases, "unpack_latents", &Ops::unpack_latents, pack};
  const Breaker<Upsample2xArgs> break_upsample2x{cases, "upsample2x", &Ops::upsample2x, upsample};
  const Breaker<ToRgb8Args> break_to_rgb8{cases, "to_rgb8", &Ops::to_rgb8, rgb};
  break_conv2d("x: expected a tensor of 4 axes", [](auto& a) { a.x = t({6, 5, 4}); });
  break_conv2d("x: expected contiguous memory", [&](auto& a) { a.x = strided; });
  break_conv2d("weight: expected a tensor of 4 axes", [](auto& a) { a.weight = {}; });
  break_conv2d("weight: expected (7, 3, 3, 4)", [](auto& a) { a.weight = t({7, 3, 3, 5}); });
  break_conv2d("bias: expected (7) f32", [](auto& a) { a.bias = t({8}); });
  break_conv2d("bias: expected contiguous", [](auto& a) { a.bias = sparse({7}); });
  break_conv2d("expected a positive stride", [](auto& a) { a.stride = 0; });
  break_conv2d("expected a positive stride and no negative", [](auto& a) { a.pad_end = -1; });
  break_conv2d("expected a kernel that fits", [](auto& a) { a.weight = t({7, 9, 3, 4}); });
  break_conv2d("y: expected (2, 3, 3, 7) f32, got (2, 6, 5, 7)", [](auto& a) { a.stride = 2; });
  break_conv2d("y: expected contiguous", [](auto& a) { a.y = t({2, 6, 5, 9}).slice(3, 0, 7); });
  break_group_norm("x: expected a tensor of 4 axes", [](auto& a) { a.x = {}; });
  break_group_norm("y: expected (2, 3, 3, 8)", [](auto& a) { a.y = t({2, 3, 3, 4}); });
  break_group_norm("y: expected contiguous", [](auto& a) { a.y = t({2, 3, 3, 9}).slice(3, 0, 8); });
  break_group_norm("expected channels divisible by the groups", [](auto& a) { a.groups = 3; });
  break_group_norm("gain: expected (8)", [](auto& a) { a.gain = t({4}); });
  break_group_norm("gain: expected contiguous", [](auto& a) { a.gain = sparse({8}); });
  break_group_norm("bias: expected (8) f32, got none", [](auto& a) { a.bias = {}; });
  break_group_norm("bias: expected contiguous", [](auto& a) { a.bias = sparse({8}); });
  break_pack_latents("latents: expected a tensor of 4", [](auto& a) { a.latents = t({2, 24, 4}); });
  break_pack_latents("expected an even height", [](auto& a) { a.latents = t({2, 3, 6, 4}); });
  break_unpack_latents("packed: expected (2, 6, 16)", [](auto& a) { a.packed = t({2, 24, 4}); });
  break_unpack_latents("packed: expected contiguous", [](auto& a) { a.packed = sparse({2, 6, 16}); });
  break_upsample2x("x: expected a tensor of 4", [](auto& a) { a.x = t({6, 4}); });
  break_upsample2x("y: expected (1, 4, 6, 4)", [](auto& a) { a.y = a.x; });
  break_upsample2x("y: expected contiguous", [](auto& a) { a.y = sparse({1, 4, 6, 4}); });
  break_to_rgb8("x: expected a tensor of 4", [](auto& a) { a.x = t({4, 3}); });
  break_to_rgb8("y: expected (1, 2, 2, 3) u8, got (1, 2, 2, 3) f32", [](auto& a) { a.y = a.x; });
  break_to_rgb8("y: expected contiguous", [](auto& a) { a.y = t({1, 2, 2, 6}, DType::u8).slice(3, 0, 3); });
  return cases;
}

Cases row_errors() {
  Cases cases;
  const LnModulateArgs modulate{
      .x = t({2, 3, 8}), .shift = step_rows(2, 8), .scale = step_rows(2, 8), .y = t({2, 3, 8})};
  const LayerNormArgs layer{.x = t({2, 3, 8}), .gain = t({8}), .bias = t({8}), .y = t({2, 3, 8})};
  const RmsNormArgs rms{.x = t({2, 3, 8}), .gain = t({8}), .y = t({2, 3, 8})};
  const QkNormRopeArgs rope{
      .q = t({2, 3, 2, 8}), .k = t({2, 3, 2, 8}), .q_gain = t({8}), .k_gain = t({8}), .pe = t({3, 4, 2})};
  const Breaker<LnModulateArgs> break_ln_modulate{cases, "ln_modulate", &Ops::ln_modulate, modulate};
  const Breaker<LayerNormArgs> break_layer_norm{cases, "layer_norm", &Ops::layer_norm, layer};
  const Breaker<RmsNormArgs> break_rms_norm{cases, "rms_norm", &Ops::rms_norm, rms};
  const Breaker<QkNormRopeArgs> break_qk_norm_rope{cases, "qk_norm_rope", &Ops::qk_norm_rope, rope};
  break_ln_modulate("x: expected a tensor of 3 axes", [](auto& a) { a.x = t({6, 8}); });
  break_ln_modulate("y: expected (2, 3, 8) f32, got (2, 3, 4) f32", [](auto& a) { a.y = t({2, 3, 4}); });
  break_ln_modulate("x: expected a dense last axis", [](auto& a) { a.x = sparse({2, 3, 8}); });
  break_ln_modulate("y: expected a dense last axis", [](auto& a) { a.y = sparse({2, 3, 8}); });
  break_ln_modulate("shift: expected a tensor of 3 axes of f32, got none", [](auto& a) { a.shift = {}; });
  break_ln_modulate("scale: expected (5, 2, 8)", [](auto& a) { a.scale = step_rows(3, 8); });
  break_layer_norm("y: expected (2, 3, 8) f32, got none", [](auto& a) { a.y = {}; });
  break_layer_norm("gain: expected (8)", [](auto& a) { a.gain = t({7}); });
  break_layer_norm("gain: expected contiguous", [](auto& a) { a.gain = sparse({8}); });
  break_layer_norm("bias: expected (8)", [](auto& a) { a.bias = t({1, 8}); });
  break_layer_norm("bias: expected contiguous", [](auto& a) { a.bias = sparse({8}); });
  break_rms_norm("x: expected a tensor of 3 axes of f32, got (2, 3, 8) i32", [](auto& a) { a.x = i32({2, 3, 8}); });
  break_rms_norm("gain: expected (8) f32, got none", [](auto& a) { a.gain = {}; });
  break_rms_norm("gain: expected contiguous", [](auto& a) { a.gain = sparse({8}); });
  break_qk_norm_rope("q: expected a tensor of 4", [](auto& a) { a.q = t({2, 3, 16}); });
  break_qk_norm_rope("expected an even head size", [](auto& a) { a.q = a.k = t({2, 3, 2, 7}); });
  break_qk_norm_rope("k: expected (2, 3, 2, 8)", [](auto& a) { a.k = t({2, 3, 1, 8}); });
  break_qk_norm_rope("q_gain: expected (8)", [](auto& a) { a.q_gain = t({4}); });
  break_qk_norm_rope("q_gain: expected contiguous", [](auto& a) { a.q_gain = sparse({8}); });
  break_qk_norm_rope("k_gain: expected (8)", [](auto& a) { a.k_gain = {}; });
  break_qk_norm_rope("k_gain: expected contiguous", [](auto& a) { a.k_gain = sparse({8}); });
  break_qk_norm_rope("pe: expected (3, 4, 2)", [](auto& a) { a.pe = t({3, 8}); });
  break_qk_norm_rope("pe: expected contiguous", [](auto& a) { a.pe = sparse({3, 4, 2}); });
  break_qk_norm_rope("q: expected a dense last axis", [](auto& a) { a.q = sparse({2, 3, 2, 8}); });
  break_qk_norm_rope("k: expected a dense last axis", [](auto& a) { a.k = sparse({2, 3, 2, 8}); });
  return cases;
}

Cases pointwise_errors() {
  Cases cases;
  const ActivateArgs activate{.x = t({2, 3, 8}), .y = t({2, 3, 8})};
  const BinaryArgs binary{.a = t({2, 3, 8}), .b = t({1, 3, 8}), .y = t({2, 3, 8})};
  const CopyArgs copy{.x = t({2, 3}), .y = t({2, 3})};
  const EmbedRowsArgs embed{.ids = i32({2, 3}), .table = t({9, 4}), .y = t({2, 3, 4})};
  const TimestepEmbeddingArgs timestep{.t = t({3}), .y = t({1, 3, 8})};
  const EulerStepArgs euler{.sample = t({2, 3, 8}), .velocity = t({2, 3, 8}), .sigmas = t({5}), .step = i32({1})};
  const Breaker<ActivateArgs> break_activate{cases, "activate", &Ops::activate, activate};
  const Breaker<BinaryArgs> break_add{cases, "add", &Ops::add, binary};
  const Breaker<BinaryArgs> break_multiply{cases, "multiply", &Ops::multiply, binary};
  const Breaker<CopyArgs> break_copy{cases, "copy", &Ops::copy, copy};
  const Breaker<EmbedRowsArgs> break_embed_rows{cases, "embed_rows", &Ops::embed_rows, embed};
  const Breaker<TimestepEmbeddingArgs> break_timestep_embedding{cases, "timestep_embedding", &Ops::timestep_embedding,
                                                                timestep};
  const Breaker<EulerStepArgs> break_euler_step{cases, "euler_step", &Ops::euler_step, euler};
  break_activate("y: expected (2, 3, 8)", [](auto& a) { a.y = t({2, 3, 9}); });
  break_add("x: expected a tensor of 3 axes", [](auto& a) { a.a = {}; });
  break_add("b: expected a tensor of 3 axes", [](auto& a) { a.b = t({3, 8}); });
  break_multiply("b: expected (2, 3, 8)", [](auto& a) { a.b = t({3, 3, 8}); });
  break_multiply("b: expected a dense last axis", [](auto& a) { a.b = sparse({2, 3, 8}); });
  break_copy("expected an input", [](auto& a) { a.x = {}; });
  break_copy("y: expected (2, 3) f32, got (2, 3) i32", [](auto& a) { a.y = i32({2, 3}); });
  break_embed_rows("ids: expected a tensor of 2 axes of i32", [](auto& a) { a.ids = t({2, 3}); });
  break_embed_rows("table: expected a tensor of 2 axes", [](auto& a) { a.table = t({9}); });
  break_embed_rows("ids: expected contiguous", [](auto& a) { a.ids = i32({3, 2}).transpose(0, 1); });
  break_embed_rows("table: expected contiguous", [](auto& a) { a.table = sparse({9, 4}); });
  break_embed_rows("y: expected (2, 3, 4)", [](auto& a) { a.y = t({2, 3, 5}); });
  break_embed_rows("y: expected a dense last axis", [](auto& a) { a.y = sparse({2, 3, 4}); });
  break_timestep_embedding("t: expected a tensor of 1", [](auto& a) { a.t = t({3, 1}); });
  break_timestep_embedding("y: expected a tensor of 3", [](auto& a) { a.y = t({3, 8}); });
  break_timestep_embedding("y: expected (1, 3, 8)", [](auto& a) { a.y = t({1, 4, 8}); });
  break_timestep_embedding("y: expected contiguous", [](auto& a) { a.y = sparse({1, 3, 8}); });
  break_timestep_embedding("expected an even width", [](auto& a) { a.y = t({1, 3, 7}); });
  break_euler_step("velocity: expected (2, 3, 4) f32, got (2, 3, 8) f32", [](auto& a) { a.sample = t({2, 3, 4}); });
  break_euler_step("sigmas: expected a tensor of 1", [](auto& a) { a.sigmas = t({5, 1}); });
  break_euler_step("step: expected (1) i32, got (1) f32", [](auto& a) { a.step = t({1}); });
  const Breaker<AdvanceStepArgs> break_advance_step{cases, "advance_step", &Ops::advance_step, {.step = i32({1})}};
  break_advance_step("step: expected (1) i32, got none", [](auto& a) { a.step = {}; });
  return cases;
}

// What must fit together where a back-end computes in bf16 and e4m3.
Cases type_errors() {
  Cases cases;
  const LinearArgs linear{.x = bf16({2, 3, 8}),
                          .weight = e4m3({6, 8}),
                          .weight_scale = t({6}),
                          .bias = bf16({6}),
                          .lora = {bf16({4, 8}), bf16({48}), t({4}), i32({2, 5}), i32({1}), 6},
                          .outputs = {{{bf16({2, 3, 6})}}},
                          .gate = {}};
  const AttentionArgs attention{.q = bf16({2, 5, 3, 8}),
                                .k = bf16({2, 5, 3, 8}),
                                .v = bf16({2, 5, 3, 8}),
                                .o = bf16({2, 5, 3, 8}),
                                .bias = {},
                                .e4m3 = true};
  const QuantizeRowsArgs quantize{.x = bf16({6, 8}), .y = e4m3({6, 8}), .scale = t({6})};
  const MergeLoraArgs merge{.base = bf16({6, 8}), .lora = linear.lora, .weight = e4m3({6, 8}), .weight_scale = t({6})};
  const LnModulateArgs modulate{.x = bf16({2, 3, 8}),
                                .shift = step_rows(2, 8),
                                .scale = step_rows(2, 8),
                                .y = e4m3({2, 3, 8}),
                                .y_scale = t({2, 3})};
  const Breaker<LinearArgs> break_linear{cases, "linear", &Ops::linear, linear};
  const Breaker<AttentionArgs> break_attention{cases, "attention", &Ops::attention, attention};
  const Breaker<QuantizeRowsArgs> break_quantize{cases, "quantize_rows", &Ops::quantize_rows, quantize};
  const Breaker<MergeLoraArgs> break_merge{cases, "merge_lora", &Ops::merge_lora, merge};
  const Breaker<LnModulateArgs> break_modulate{cases, "ln_modulate", &Ops::ln_modulate, modulate};
  break_linear("weight_scale: expected (6) f32, got none", [](auto& a) { a.weight_scale = {}; });
  break_linear("x_scale: expected (2, 3) f32, got (3, 2) f32", [](auto& a) {
    a.x = e4m3({2, 3, 8}), a.x_scale = t({3, 2});
  });
  break_linear("scale: expected a dense last axis, got stride 2", [](auto& a) {
    a.x = e4m3({2, 3, 8}), a.x_scale = sparse({2, 3});
  });
  break_linear("expected scales with values of f8_e4m3 only", [](auto& a) { a.x_scale = t({2, 3}); });
  break_linear("expected scales with values of f8_e4m3 only", [](auto& a) { a.weight = bf16({6, 8}); });
  break_linear("expected x of f8_e4m3 only with a weight of it", [](auto& a) {
    a.x = e4m3({2, 3, 8}), a.x_scale = t({2, 3}), a.weight_only = true;
  });
  break_linear("lora.a: expected a tensor of 2 axes of bf16, got (4, 8) f32", [](auto& a) { a.lora.a = t({4, 8}); });
  break_linear("lora.b: expected a tensor of 1 axes of bf16, got (48) f32", [](auto& a) { a.lora.b = t({48}); });
  break_linear("y: expected a tensor of 3 axes of f32, got (2, 3, 6) f8_e4m3", [](auto& a) {
    a.outputs[0].y = e4m3({2, 3, 6});
  });
  break_linear("bias: expected (6) f32, got (6) f16", [](auto& a) { a.bias = t({6}, DType::f16); });
  break_linear("x_mean: expected a tensor of 2 axes of bf16, got (2, 8) f32", [](auto& a) { a.x_mean = t({2, 8}); });
  break_linear("expected x_mean of x's batch, no wider than x", [](auto& a) { a.x_mean = bf16({2, 9}); });
  break_linear("expected x_mean of x's batch, no wider than x", [](auto& a) { a.x_mean = bf16({3, 8}); });
  break_linear("x_mean: expected contiguous memory", [](auto& a) { a.x_mean = bf16({8, 2}).transpose(0, 1); });
  break_attention("o_mean: expected (2, 3, 8) bf16, got (2, 24) bf16", [](auto& a) { a.o_mean = bf16({2, 24}); });
  break_attention("o_mean: expected contiguous memory", [](auto& a) { a.o_mean = bf16({2, 8, 3}).transpose(1, 2); });
  break_attention("expected o_mean only with attention in f8_e4m3", [](auto& a) {
    a.o_mean = bf16({2, 3, 8}), a.e4m3 = false;
  });
  const auto front = [](auto& a) {  // of both, 4 columns
    const Tensor x = e4m3({2, 3, 12}), weight = e4m3({6, 12});
    a.x_front = x.slice(2, 0, 4), a.x = x.slice(2, 4, 12), a.x_scale = t({2, 3}), a.weight_down = e4m3({4, 8});
    a.weight_front = weight.slice(1, 0, 4), a.weight = weight.slice(1, 4, 12);
  };
  break_linear("x_front: expected (2, 3, 4) f8_e4m3, got none", [=](auto& a) { front(a), a.x_front = {}; });
  break_linear("expected a front right before the rows", [=](auto& a) { front(a), a.weight_front = e4m3({6, 4}); });
  break_linear("weight: expected contiguous", [=](auto& a) { front(a), a.weight_front = a.x_front = {}; });
  break_linear("expected a front of x, weight_down and columns only with a front of the weight", [](auto& a) {
    a.weight_down = e4m3({4, 8});
  });
  break_linear("expected a front of x, weight_down and columns only with a front of the weight", [=](auto& a) {
    front(a), a.weight = e4m3({6, 8}), a.weight_front = {};
  });
  break_linear("weight_down: expected (4, 8) f8_e4m3, got (4, 9) f8_e4m3", [=](auto& a) {
    front(a), a.weight_down = e4m3({4, 9});
  });
  break_linear("weight_down: expected (4, 8) f8_e4m3, got (4, 8) bf16", [=](auto& a) {
    front(a), a.weight_down = bf16({4, 8});
  });
  break_linear("weight_down: expected contiguous memory", [=](auto& a) {
    front(a), a.weight_down = e4m3({8, 4}).transpose(0, 1);
  });
  // Each of the three sizes alone is no multiple of 16.
  for (const Shape& sizes : {Shape{24, 32, 16}, Shape{32, 24, 16}, Shape{32, 32, 8}}) {
    break_linear("expected in, out and columns of the front as multiples of 16", [=](auto& a) {
      const int64_t out = sizes[0], in = sizes[1], columns = sizes[2];
      const Tensor weight = e4m3({out, columns + in});
      a.x = bf16({2, 3, in}), a.weight_front = weight.slice(1, 0, columns);
      a.weight = weight.slice(1, columns, columns + in), a.weight_scale = t({out}), a.weight_down = e4m3({columns, in});
      a.front_columns = columns;
      a.bias = {}, a.lora = {}, a.outputs[0].y = bf16({2, 3, out});
    });
  }
  break_linear("expected as many columns as the front has, or fewer", [=](auto& a) { front(a), a.front_columns = 16; });
  break_linear("expected as many columns as the front has, or fewer",
               [=](auto& a) { front(a), a.front_columns = -16; });
  // All sizes are multiples of 16 but what is used of the front.
  break_linear("expected in, out and columns of the front as multiples of 16", [=](auto& a) {
    const Tensor weight = e4m3({32, 32});
    a.x = bf16({2, 3, 16}), a.weight_front = weight.slice(1, 0, 16), a.weight = weight.slice(1, 16, 32);
    a.weight_scale = t({32}), a.weight_down = e4m3({16, 16}), a.front_columns = 8;
    a.bias = {}, a.lora = {}, a.outputs[0].y = bf16({2, 3, 32});
  });
  break_linear("expected a front of x, weight_down and columns only with a front of the weight",
               [](auto& a) { a.front_columns = 16; });
  break_linear("expected a front of x with x of f8_e4m3 only", [=](auto& a) {
    front(a), a.x = bf16({2, 3, 8}), a.x_scale = {};
  });
  break_linear("expected a front only of a weight of f8_e4m3", [=](auto& a) {
    front(a), a.x = bf16({2, 3, 8}), a.x_scale = a.x_front = {}, a.weight_only = true;
  });
  const FoldLoraArgs fold{.lora = linear.lora,
                          .weight_scale = t({6}),
                          .weight_front = e4m3({6, 3}),
                          .weight_down = e4m3({3, 8}),
                          .column_scale = t({3}),
                          .room = t({1}),
                          .reach = i32({1})};
  const Breaker<FoldLoraArgs> break_fold{cases, "fold_lora", &Ops::fold_lora, fold};
  break_fold("weight_front: expected a tensor of 2 axes of f8_e4m3, got none", [](auto& a) { a.weight_front = {}; });
  break_fold("weight_scale: expected (6) f32, got none", [](auto& a) { a.weight_scale = {}; });
  break_fold("weight_scale: expected contiguous", [](auto& a) { a.weight_scale = sparse({6}); });
  break_fold("weight_front: expected a dense last axis", [](auto& a) {
    a.weight_front = e4m3({3, 6}).transpose(0, 1);
  });
  break_fold("weight_down: expected a tensor of 2 axes of f8_e4m3, got none", [](auto& a) { a.weight_down = {}; });
  break_fold("weight_down: expected (3, 8) f8_e4m3, got (4, 8)", [](auto& a) { a.weight_down = e4m3({4, 8}); });
  break_fold("weight_down: expected contiguous", [](auto& a) { a.weight_down = e4m3({8, 3}).transpose(0, 1); });
  break_fold("column_scale: expected (3) f32, got none", [](auto& a) { a.column_scale = {}; });
  break_fold("column_scale: expected (3) f32, got (4) f32", [](auto& a) { a.column_scale = t({4}); });
  break_fold("column_scale: expected contiguous", [](auto& a) { a.column_scale = sparse({3}); });
  break_fold("lora.a: expected (4, 9) bf16, got (4, 8) bf16", [](auto& a) { a.weight_down = e4m3({3, 9}); });
  break_fold("expected lora.out like the rows of the weight", [](auto& a) {
    a.weight_front = e4m3({5, 3}), a.weight_scale = t({5});
  });
  break_fold("room: expected (1) f32, got none", [](auto& a) { a.room = {}; });
  break_fold("reach: expected (1) i32, got (1) f32", [](auto& a) { a.reach = t({1}); });
  break_fold("expected in and columns of the front as multiples of 16", [](auto&) {});
  break_attention("v: expected (2, 5, 3, 8) bf16, got (2, 5, 3, 8) f32", [](auto& a) { a.v = t({2, 5, 3, 8}); });
  break_attention("expected bf16 without bias and mask", [](auto& a) { a.causal = true; });
  break_attention("expected bf16 without bias and mask", [](auto& a) { a.bias = bf16({3, 5, 5}); });
  break_attention("expected bf16 without bias and mask", [](auto& a) { a.q = a.k = a.v = a.o = t({2, 5, 3, 8}); });
  break_quantize("x: expected a tensor of 2 axes of f32, got (6, 8) f8_e4m3", [](auto& a) { a.x = a.y; });
  break_quantize("expected y of f8_e4m3", [](auto& a) { a.y = bf16({6, 8}); });
  break_quantize("expected y of f8_e4m3", [](auto& a) { a.y = {}; });
  break_quantize("y: expected (6, 8) f8_e4m3, got (6, 9) f8_e4m3", [](auto& a) { a.y = e4m3({6, 9}); });
  break_quantize("y_scale: expected (6) f32, got none", [](auto& a) { a.scale = {}; });
  break_quantize("x: expected contiguous", [](auto& a) { a.x = bf16({8, 6}).transpose(0, 1); });
  break_merge("base: expected a tensor of 2 axes of f32, got (6, 8) f8_e4m3", [](auto& a) { a.base = a.weight; });
  break_merge("weight: expected (6, 8) f8_e4m3, got (6, 9) f8_e4m3", [](auto& a) { a.weight = e4m3({6, 9}); });
  break_merge("weight_scale: expected (6) f32, got none", [](auto& a) { a.weight_scale = {}; });
  break_merge("expected scales with values of f8_e4m3 only", [](auto& a) { a.weight = a.base; });
  break_merge("expected a weight of the base's type or f8_e4m3", [](auto& a) {
    a.weight = t({6, 8}), a.weight_scale = {};
  });
  break_merge("base, weight: expected contiguous", [](auto& a) { a.base = bf16({8, 6}).transpose(0, 1); });
  break_merge("lora.a: expected a tensor of 2 axes of f32, got (4, 8) bf16", [](auto& a) { a.base = t({6, 8}); });
  break_modulate("y_scale: expected (2, 3) f32, got none", [](auto& a) { a.y_scale = {}; });
  break_modulate("expected scales with values of f8_e4m3 only", [](auto& a) { a.y = bf16({2, 3, 8}); });
  break_modulate("expected y of x's type or f8_e4m3", [](auto& a) { a.y = t({2, 3, 8}), a.y_scale = {}; });
  return cases;
}

void expect_errors(Ops& ops, const Cases& cases) {
  for (const Case& c : cases) {
    EXPECT_THAT(error_of(ErrorCode::invalid_argument, [&] { c.call(ops); }), ::testing::HasSubstr(c.message));
  }
}

TEST(OpsChecks, SayWhatWasExpectedAndFound) {
  const auto ops = make_reference_ops();
  for (const auto family : {linear_errors, attention_errors, image_errors, row_errors, pointwise_errors}) {
    expect_errors(*ops, family());
  }
}

TEST(OpsChecks, SayWhichTypesFitTogether) {
  const auto reference = make_reference_ops();
  DryOps ops(*reference);
  expect_errors(ops, type_errors());
  EXPECT_EQ(ops.calls(), 0);
}

// What a back-end does not compute in, it refuses as it refuses any other type.
TEST(OpsChecks, KeepTypesFromBackEndsThatLackThem) {
  const auto cpu = make_cpu_ops(1);
  EXPECT_THAT(error_of(ErrorCode::invalid_argument,
                       [&] {
                         cpu->activate({.x = bf16({1, 2, 3}), .y = bf16({1, 2, 3})});
                       }),
              ::testing::HasSubstr("x: expected a tensor of 3 axes of f32, got (1, 2, 3) bf16"));
  EXPECT_THAT(error_of(ErrorCode::invalid_argument, [&] { cpu->copy({.x = t({2}), .y = bf16({2})}); }),
              ::testing::HasSubstr("y: expected (2) f32, got (2) bf16"));
  const LoraOperand lora{t({4, 8}), t({48}), t({4}), i32({2, 5}), i32({1}), 6};
  EXPECT_THAT(error_of(ErrorCode::unsupported,
                       [&] {
                         cpu->merge_lora({.base = t({6, 8}), .lora = lora, .weight = t({6, 8}), .weight_scale = {}});
                       }),
              ::testing::HasSubstr("[merge_lora] the back-end cpu merges on the host"));
  const FoldLoraArgs fold{.lora = {},
                          .weight_scale = t({6}),
                          .weight_front = e4m3({6, 4}),
                          .weight_down = e4m3({4, 8}),
                          .column_scale = t({4}),
                          .room = {},
                          .reach = {}};
  EXPECT_THAT(error_of(ErrorCode::unsupported, [&] { cpu->fold_lora(fold); }),
              ::testing::HasSubstr("[fold_lora] the back-end cpu has no products in f8_e4m3"));
  const Tensor wide = e4m3({16, 32});
  const LinearArgs with_columns{.x = t({1, 3, 16}),
                                .x_scale = {},
                                .weight = wide.slice(1, 16, 32),
                                .weight_scale = t({16}),
                                .weight_front = wide.slice(1, 0, 16),
                                .weight_down = e4m3({16, 16}),
                                .front_columns = 16,
                                .bias = {},
                                .lora = {},
                                .outputs = {{{t({1, 3, 16})}}}};
  EXPECT_THAT(error_of(ErrorCode::invalid_argument, [&] { make_reference_ops()->linear(with_columns); }),
              ::testing::HasSubstr("expected no columns of a front where the device does not multiply in f8_e4m3"))
      << "the adapter in them would be lost";
  const auto reference = make_reference_ops();
  const LinearArgs rounded{.x = t({1, 3, 8}),
                           .weight = e4m3({6, 8}),
                           .weight_scale = t({6}),
                           .bias = {},
                           .lora = {},
                           .outputs = {{{t({1, 3, 6})}}},
                           .gate = {}};
  EXPECT_THAT(
      error_of(ErrorCode::unsupported, [&] { reference->linear(rounded); }),
      ::testing::HasSubstr("[linear] the back-end reference multiplies f32 alone, found x of f32 and a weight"));
}

}  // namespace
}  // namespace fx::test
