// The executable definition of every operation: double accumulation, plain loops, one thread, any strides. Where a
// back-end and this one disagree, this one is right. It is slow on purpose, and no operation is built from another one.
//
// Everything between the inputs and the outputs is double; outputs are rounded to f32 once. Where the definition itself
// is in f32 (timestep frequencies, 8-bit pixels), the code says so.
#pragma once

#include "ops/ops.h"

namespace fx {

// Values are f32. Outputs that may be e4m3 can be that here too, but not the inputs of a linear layer.
//
// Real is double. The parity tests also run RefOps<float>: what a naive implementation in f32 would lose. With
// `bf16_softmax` it is naive in bf16: the weights that softmax gives are rounded before they meet the values.
template <class Real>
class RefOps final : public Ops {
 public:
  explicit RefOps(bool bf16_softmax = false)
      : runtime_(make_host_runtime(host_memory_bytes())), bf16_softmax_(bf16_softmax) {}
  Runtime& runtime() override { return *runtime_; }
  std::string_view backend_name() const override { return "reference"; }
  bool computes_in(DType dtype) const override { return dtype == DType::f32 || dtype == DType::f8_e4m3; }
  bool multiplies_in(DType dtype) const override { return dtype == DType::f32; }

 private:
  void do_linear(const LinearArgs& args) override;                         // ref_linear.cc
  void do_attention(const AttentionArgs& args) override;                   // ref_attention.cc
  void do_conv2d(const Conv2dArgs& args) override;                         // ref_conv.cc
  void do_upsample2x(const Upsample2xArgs& args) override;                 // ref_conv.cc
  void do_quantize_rows(const QuantizeRowsArgs& args) override;            // ref_quantize.cc
  void do_merge_lora(const MergeLoraArgs& args) override;                  // ref_quantize.cc
  void do_fold_loras(const FoldLorasArgs& args) override;                  // ref_quantize.cc
  void do_ln_modulate(const LnModulateArgs& args) override;                // ref_norm.cc
  void do_layer_norm(const LayerNormArgs& args) override;                  // ref_norm.cc
  void do_rms_norm(const RmsNormArgs& args) override;                      // ref_norm.cc
  void do_qk_norm_rope(const QkNormRopeArgs& args) override;               // ref_norm.cc
  void do_group_norm(const GroupNormArgs& args) override;                  // ref_norm.cc
  void do_activate(const ActivateArgs& args) override;                     // ref_pointwise.cc
  void do_add(const BinaryArgs& args) override;                            // ref_pointwise.cc
  void do_multiply(const BinaryArgs& args) override;                       // ref_pointwise.cc
  void do_copy(const CopyArgs& args) override;                             // ref_pointwise.cc
  void do_embed_rows(const EmbedRowsArgs& args) override;                  // ref_pointwise.cc
  void do_timestep_embedding(const TimestepEmbeddingArgs& args) override;  // ref_pointwise.cc
  void do_unpack_latents(const LatentLayoutArgs& args) override;           // ref_latents.cc
  void do_pack_latents(const LatentLayoutArgs& args) override;             // ref_latents.cc
  void do_to_rgb8(const ToRgb8Args& args) override;                        // ref_latents.cc
  void do_euler_step(const EulerStepArgs& args) override;                  // ref_latents.cc
  void do_advance_step(const AdvanceStepArgs& args) override;              // ref_latents.cc

  std::unique_ptr<Runtime> runtime_;
  bool bf16_softmax_;
};

}  // namespace fx
