// A back-end around another one, for classes that do the same thing with every operation: record it, time it, count it.
// Such a class names itself as `Self` and says what it does once, in a function that gets each call after its checks:
//
//   template <class Args>
//   void relay(std::string_view name, void (Ops::*op)(const Args&), const Args& args) { (inner().*op)(args); }
//
// It may override single operations beside that.
#pragma once

#include <string_view>

#include "ops/ops.h"

namespace fx {

template <class Self>
class RelayOps : public Ops {
 public:
  Runtime& runtime() override { return inner_.runtime(); }
  std::string_view backend_name() const override { return inner_.backend_name(); }
  bool computes_in(DType dtype) const override { return inner_.computes_in(dtype); }
  bool multiplies_in(DType dtype) const override { return inner_.multiplies_in(dtype); }

 protected:
  Ops& inner() const { return inner_; }

 private:
  friend Self;  // who alone may be built on this: self() would be wrong for others
  explicit RelayOps(Ops& inner) : inner_(inner) {}
  Self& self() { return static_cast<Self&>(*this); }

  void do_linear(const LinearArgs& args) override { self().relay("linear", &Ops::linear, args); }
  void do_attention(const AttentionArgs& args) override { self().relay("attention", &Ops::attention, args); }
  void do_conv2d(const Conv2dArgs& args) override { self().relay("conv2d", &Ops::conv2d, args); }
  void do_quantize_rows(const QuantizeRowsArgs& args) override {
    self().relay("quantize_rows", &Ops::quantize_rows, args);
  }
  void do_merge_lora(const MergeLoraArgs& args) override { self().relay("merge_lora", &Ops::merge_lora, args); }
  void do_fold_loras(const FoldLorasArgs& args) override { self().relay("fold_loras", &Ops::fold_loras, args); }
  void do_ln_modulate(const LnModulateArgs& args) override { self().relay("ln_modulate", &Ops::ln_modulate, args); }
  void do_layer_norm(const LayerNormArgs& args) override { self().relay("layer_norm", &Ops::layer_norm, args); }
  void do_rms_norm(const RmsNormArgs& args) override { self().relay("rms_norm", &Ops::rms_norm, args); }
  void do_qk_norm_rope(const QkNormRopeArgs& args) override { self().relay("qk_norm_rope", &Ops::qk_norm_rope, args); }
  void do_group_norm(const GroupNormArgs& args) override { self().relay("group_norm", &Ops::group_norm, args); }
  void do_activate(const ActivateArgs& args) override { self().relay("activate", &Ops::activate, args); }
  void do_add(const BinaryArgs& args) override { self().relay("add", &Ops::add, args); }
  void do_multiply(const BinaryArgs& args) override { self().relay("multiply", &Ops::multiply, args); }
  void do_copy(const CopyArgs& args) override { self().relay("copy", &Ops::copy, args); }
  void do_embed_rows(const EmbedRowsArgs& args) override { self().relay("embed_rows", &Ops::embed_rows, args); }
  void do_timestep_embedding(const TimestepEmbeddingArgs& args) override {
    self().relay("timestep_embedding", &Ops::timestep_embedding, args);
  }
  void do_unpack_latents(const LatentLayoutArgs& args) override {
    self().relay("unpack_latents", &Ops::unpack_latents, args);
  }
  void do_pack_latents(const LatentLayoutArgs& args) override {
    self().relay("pack_latents", &Ops::pack_latents, args);
  }
  void do_upsample2x(const Upsample2xArgs& args) override { self().relay("upsample2x", &Ops::upsample2x, args); }
  void do_to_rgb8(const ToRgb8Args& args) override { self().relay("to_rgb8", &Ops::to_rgb8, args); }
  void do_euler_step(const EulerStepArgs& args) override { self().relay("euler_step", &Ops::euler_step, args); }
  void do_advance_step(const AdvanceStepArgs& args) override { self().relay("advance_step", &Ops::advance_step, args); }

  Ops& inner_;
};

}  // namespace fx
