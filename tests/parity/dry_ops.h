// A back-end that computes in everything and does nothing: what remains are the checks.
#pragma once

#include "ops/ops.h"

namespace fx::test {

class DryOps final : public Ops {
 public:
  Runtime& runtime() override { return *runtime_; }
  std::string_view backend_name() const override { return "dry"; }
  bool computes_in(DType dtype) const override {
    return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f8_e4m3;
  }
  int calls() const { return calls_; }  // that passed their checks

 private:
  void do_linear(const LinearArgs&) override { ++calls_; }
  void do_attention(const AttentionArgs&) override { ++calls_; }
  void do_conv2d(const Conv2dArgs&) override { ++calls_; }
  void do_quantize_rows(const QuantizeRowsArgs&) override { ++calls_; }
  void do_merge_lora(const MergeLoraArgs&) override { ++calls_; }
  void do_fold_lora(const FoldLoraArgs&) override { ++calls_; }
  void do_ln_modulate(const LnModulateArgs&) override { ++calls_; }
  void do_layer_norm(const LayerNormArgs&) override { ++calls_; }
  void do_rms_norm(const RmsNormArgs&) override { ++calls_; }
  void do_qk_norm_rope(const QkNormRopeArgs&) override { ++calls_; }
  void do_group_norm(const GroupNormArgs&) override { ++calls_; }
  void do_activate(const ActivateArgs&) override { ++calls_; }
  void do_add(const BinaryArgs&) override { ++calls_; }
  void do_multiply(const BinaryArgs&) override { ++calls_; }
  void do_copy(const CopyArgs&) override { ++calls_; }
  void do_embed_rows(const EmbedRowsArgs&) override { ++calls_; }
  void do_timestep_embedding(const TimestepEmbeddingArgs&) override { ++calls_; }
  void do_unpack_latents(const LatentLayoutArgs&) override { ++calls_; }
  void do_pack_latents(const LatentLayoutArgs&) override { ++calls_; }
  void do_upsample2x(const Upsample2xArgs&) override { ++calls_; }
  void do_to_rgb8(const ToRgb8Args&) override { ++calls_; }
  void do_euler_step(const EulerStepArgs&) override { ++calls_; }
  void do_advance_step(const AdvanceStepArgs&) override { ++calls_; }

  std::unique_ptr<Runtime> runtime_ = make_host_runtime();
  int calls_ = 0;
};

}  // namespace fx::test
