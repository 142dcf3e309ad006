// The only seam between the models and the hardware: every operation that FLUX runs, at the granularity in which a
// back-end wants to fuse.
//
// Contract (graph safety):
// - Outputs are views given by the caller. After the first call with given shapes, an operation neither allocates nor
//   synchronises.
// - An operation reads nothing on the host that changes between steps. Modulation, gates, sigmas and adapters are whole
//   tables in device memory, indexed by a step counter that is device memory too. So a sequence of calls recorded at one
//   step can be replayed for every step, prompt, seed and adapter (see recording_ops.h).
// - Calls on one Ops object run in order, possibly after they have returned; they come from one thread at a time.
// - Public methods check shapes once for all back-ends and throw Error(invalid_argument) with expected and actual;
//   do_* does the work.
#pragma once

#include <memory>
#include <string_view>

#include "core/runtime.h"
#include "ops/args.h"

namespace fx {

class Ops {
 public:
  virtual ~Ops() = default;
  virtual Runtime& runtime() = 0;
  virtual std::string_view backend_name() const = 0;
  // Whether activations and weights may have this type. Every back-end takes f32; one that takes e4m3 for weights takes
  // it for the inputs of its linear layers as well.
  virtual bool computes_in(DType dtype) const { return dtype == DType::f32; }
  // Whether the device's matrix units do, too: the same results without them come slower.
  virtual bool multiplies_in(DType dtype) const { return computes_in(dtype); }

  // Matrix products
  void linear(const LinearArgs& args);
  void attention(const AttentionArgs& args);
  void conv2d(const Conv2dArgs& args);

  // Weights
  void quantize_rows(const QuantizeRowsArgs& args);
  void merge_lora(const MergeLoraArgs& args);
  void fold_loras(const FoldLorasArgs& args);
  void fold_lora(const FoldLoraArgs& layer) { fold_loras({.layers = {layer}}); }

  // Norms
  void ln_modulate(const LnModulateArgs& args);
  void layer_norm(const LayerNormArgs& args);
  void rms_norm(const RmsNormArgs& args);
  void qk_norm_rope(const QkNormRopeArgs& args);
  void group_norm(const GroupNormArgs& args);

  // Elementwise and look-ups
  void activate(const ActivateArgs& args);
  void add(const BinaryArgs& args);
  void multiply(const BinaryArgs& args);
  void copy(const CopyArgs& args);
  void embed_rows(const EmbedRowsArgs& args);
  void timestep_embedding(const TimestepEmbeddingArgs& args);

  // Latents and pictures
  void unpack_latents(const LatentLayoutArgs& args);
  void pack_latents(const LatentLayoutArgs& args);
  void upsample2x(const Upsample2xArgs& args);
  void to_rgb8(const ToRgb8Args& args);

  // Sampling
  void euler_step(const EulerStepArgs& args);
  void advance_step(const AdvanceStepArgs& args);

 protected:
  virtual void do_linear(const LinearArgs& args) = 0;
  virtual void do_attention(const AttentionArgs& args) = 0;
  virtual void do_conv2d(const Conv2dArgs& args) = 0;
  // For back-ends that compute in f32 alone these throw unsupported.
  virtual void do_quantize_rows(const QuantizeRowsArgs& args);
  virtual void do_merge_lora(const MergeLoraArgs& args);
  virtual void do_fold_loras(const FoldLorasArgs& args);
  virtual void do_ln_modulate(const LnModulateArgs& args) = 0;
  virtual void do_layer_norm(const LayerNormArgs& args) = 0;
  virtual void do_rms_norm(const RmsNormArgs& args) = 0;
  virtual void do_qk_norm_rope(const QkNormRopeArgs& args) = 0;
  virtual void do_group_norm(const GroupNormArgs& args) = 0;
  virtual void do_activate(const ActivateArgs& args) = 0;
  virtual void do_add(const BinaryArgs& args) = 0;
  virtual void do_multiply(const BinaryArgs& args) = 0;
  virtual void do_copy(const CopyArgs& args) = 0;
  virtual void do_embed_rows(const EmbedRowsArgs& args) = 0;
  virtual void do_timestep_embedding(const TimestepEmbeddingArgs& args) = 0;
  virtual void do_unpack_latents(const LatentLayoutArgs& args) = 0;
  virtual void do_pack_latents(const LatentLayoutArgs& args) = 0;
  virtual void do_upsample2x(const Upsample2xArgs& args) = 0;
  virtual void do_to_rgb8(const ToRgb8Args& args) = 0;
  virtual void do_euler_step(const EulerStepArgs& args) = 0;
  virtual void do_advance_step(const AdvanceStepArgs& args) = 0;
};

}  // namespace fx
