// The leaf layers: parameters bound by name, and a call that fills in the operation's arguments.
#pragma once

#include "nn/params.h"
#include "ops/ops.h"

namespace fx {

// Rows of activations, (B, L, C): as they are, or in e4m3 with one scale a row where the layers that read them are, and then
// perhaps with room for their adapters (LinearArgs::x_front); or without what all of them have in common.
struct ScaledRows {
  Tensor values;
  Tensor scale;  // (B, L), or none
  Tensor front;  // (B, L, as many as any layer that reads them has) right before the values, or none
  Tensor mean;   // (B, m): what all rows stand for beside their values (LinearArgs::x_mean), or none

  ScaledRows() = default;
  ScaledRows(const Tensor& plain) : values(plain) {}
  ScaledRows(const Tensor& quantised, const Tensor& scales, const Tensor& before = {})
      : values(quantised), scale(scales), front(before) {}
  // Rows [begin, end) of each batch entry.
  ScaledRows rows(int64_t begin, int64_t end) const {
    const auto part = [&](const Tensor& t) { return t.defined() ? t.slice(1, begin, end) : Tensor(); };
    return ScaledRows(part(values), part(scale), part(front)).with_mean(mean);
  }
  ScaledRows with_mean(const Tensor& of_all_rows) const {
    ScaledRows rows = *this;
    rows.mean = of_all_rows;
    return rows;
  }
};

// y = x weight^T + bias, with a slot for adapters. Nothing else: what comes after is the epilogue of Ops::linear.
class Linear {
 public:
  // `bias` says whether the layer has one, `parts` how many layers of the published files are fused in it. Parameters:
  // `<scope>.weight` (out, in), `<scope>.bias` (out).
  Linear(const ParamScope& scope, int64_t in, int64_t out, bool bias = true, ParamRole role = ParamRole::plain,
         int64_t parts = 1);

  // y = activation(x W^T + b); x (B, L, in), y (B, L, out).
  void operator()(Ops& ops, const ScaledRows& x, const Tensor& y, Activation activation = Activation::none) const;
  // The first y.size(2) columns to y, the others to activation(...) in z.
  void split(Ops& ops, const ScaledRows& x, const Tensor& y, const Tensor& z, Activation activation) const;
  // y += x W^T + b
  void add_to(Ops& ops, const ScaledRows& x, const Tensor& y) const { add_gated(ops, x, y, {}); }
  // y += gate * (x W^T + b)
  void add_gated(Ops& ops, const ScaledRows& x, const Tensor& y, const StepVector& gate) const;

  int64_t in() const { return weight_->tensor.size(1); }
  int64_t out() const { return weight_->tensor.size(0); }

 private:
  LinearArgs args(const ScaledRows& x) const;

  const Param* weight_;  // (out, in)
  Tensor bias_;          // (out) or none
  LoraSlot* slot_;
};

class LayerNorm {
 public:
  LayerNorm(const ParamScope& scope, int64_t channels, float eps);
  void operator()(Ops& ops, const Tensor& x, const Tensor& y) const;

 private:
  Tensor gain_, bias_;  // (C)
  float eps_;
};

class RmsNorm {
 public:
  RmsNorm(const ParamScope& scope, int64_t channels, float eps);
  void operator()(Ops& ops, const Tensor& x, const Tensor& y) const;

 private:
  Tensor gain_;  // (C)
  float eps_;
};

// Channels last. Parameters as in the files: weight (O, I, k, k), bias (O).
class Conv2d {
 public:
  Conv2d(const ParamScope& scope, int64_t in, int64_t out, int kernel);
  // Same size for stride 1; for stride 2 the padding is at the end only, as the VAE's down-sampling has it.
  void operator()(Ops& ops, const Tensor& x, const Tensor& y, int stride = 1, bool add = false) const;

 private:
  Tensor weight_;  // (O, k, k, I)
  Tensor bias_;    // (O)
  int kernel_;
};

class GroupNorm {
 public:
  GroupNorm(const ParamScope& scope, int groups, int64_t channels, float eps);
  void operator()(Ops& ops, const Tensor& x, const Tensor& y, bool silu) const;

 private:
  Tensor gain_, bias_;  // (C)
  int groups_;
  float eps_;
};

}  // namespace fx
