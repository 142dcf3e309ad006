#include "nn/layers.h"

namespace fx {

Linear::Linear(const ParamScope& scope, int64_t in, int64_t out, bool bias, ParamRole role, int64_t parts)
    : weight_(&scope.store().declare(scope.path("weight"), {out, in}, ParamLayout::as_stored, role, parts)),
      slot_(scope.store().declare_slot(scope.path(), *weight_)) {
  if (bias) bias_ = scope.tensor("bias", {out});
}

LinearArgs Linear::args(const ScaledRows& x) const {
  const Tensor& front = weight_->front;
  const int64_t of_x = x.front.defined() ? x.front.size(2) : 0;
  return {.x = x.values,
          .x_scale = x.scale,
          .x_mean = x.mean,
          .x_front = front.defined() && of_x > 0 ? x.front.slice(2, of_x - front.size(1), of_x) : Tensor(),
          .weight = weight_->tensor,
          .weight_scale = weight_->scale,
          .weight_front = front,
          .weight_down = weight_->down,
          .front_columns = slot_->front_columns,
          .weight_only = weight_->weight_only(),
          .bias = bias_,
          .lora = slot_->merged || slot_->front_columns > 0 ? LoraOperand() : slot_->operand};
}

void Linear::operator()(Ops& ops, const ScaledRows& x, const Tensor& y, Activation activation) const {
  LinearArgs call = args(x);
  call.outputs[0] = {y, activation};
  ops.linear(call);
}

void Linear::split(Ops& ops, const ScaledRows& x, const Tensor& y, const Tensor& z, Activation activation) const {
  LinearArgs call = args(x);
  call.outputs = {LinearOutput{y, Activation::none}, LinearOutput{z, activation}};
  ops.linear(call);
}

void Linear::add_gated(Ops& ops, const ScaledRows& x, const Tensor& y, const StepVector& gate) const {
  LinearArgs call = args(x);
  call.outputs[0] = {y, Activation::none};
  call.add = true;
  call.gate = gate;
  ops.linear(call);
}

LayerNorm::LayerNorm(const ParamScope& scope, int64_t channels, float eps)
    : gain_(scope.tensor("weight", {channels})), bias_(scope.tensor("bias", {channels})), eps_(eps) {}

void LayerNorm::operator()(Ops& ops, const Tensor& x, const Tensor& y) const {
  ops.layer_norm({.x = x, .gain = gain_, .bias = bias_, .y = y, .eps = eps_});
}

RmsNorm::RmsNorm(const ParamScope& scope, int64_t channels, float eps)
    : gain_(scope.tensor("weight", {channels})), eps_(eps) {}

void RmsNorm::operator()(Ops& ops, const Tensor& x, const Tensor& y) const {
  ops.rms_norm({.x = x, .gain = gain_, .y = y, .eps = eps_});
}

Conv2d::Conv2d(const ParamScope& scope, int64_t in, int64_t out, int kernel)
    : weight_(scope.tensor("weight", {out, in, kernel, kernel}, ParamLayout::channels_last)),
      bias_(scope.tensor("bias", {out})),
      kernel_(kernel) {}

void Conv2d::operator()(Ops& ops, const Tensor& x, const Tensor& y, int stride, bool add) const {
  const int pad = kernel_ / 2;
  ops.conv2d({.x = x,
              .weight = weight_,
              .bias = bias_,
              .y = y,
              .stride = stride,
              .pad_begin = stride == 1 ? pad : 0,
              .pad_end = pad,
              .add = add});
}

GroupNorm::GroupNorm(const ParamScope& scope, int groups, int64_t channels, float eps)
    : gain_(scope.tensor("weight", {channels})), bias_(scope.tensor("bias", {channels})), groups_(groups), eps_(eps) {}

void GroupNorm::operator()(Ops& ops, const Tensor& x, const Tensor& y, bool silu) const {
  ops.group_norm({.x = x, .gain = gain_, .bias = bias_, .y = y, .groups = groups_, .eps = eps_, .silu = silu});
}

}  // namespace fx
