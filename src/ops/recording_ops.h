// Records the calls of one step, with their operand addresses, and replays them: on a CPU what graph capture is on a GPU.
// The tests use it to prove that a forward pass keeps the graph-safety contract of ops.h: a sequence recorded at step 0
// must give the same bytes at every other step, prompt, seed and adapter as direct execution.
#pragma once

#include <functional>
#include <vector>

#include "ops/ops.h"

namespace fx {

class RecordingOps final : public Ops {
 public:
  explicit RecordingOps(Ops& inner) : inner_(inner) {}

  Runtime& runtime() override { return inner_.runtime(); }
  std::string_view backend_name() const override { return inner_.backend_name(); }
  bool computes_in(DType dtype) const override { return inner_.computes_in(dtype); }
  bool multiplies_in(DType dtype) const override { return inner_.multiplies_in(dtype); }

  // Forgets the recorded calls. From here on, calls run and are recorded.
  void start_recording();
  void stop_recording() { recording_ = false; }
  // Runs the recorded calls again, with the operands as they were recorded.
  void replay() const;
  size_t recorded_calls() const { return calls_.size(); }

 private:
  void do_linear(const LinearArgs& args) override;
  void do_attention(const AttentionArgs& args) override;
  void do_conv2d(const Conv2dArgs& args) override;
  void do_quantize_rows(const QuantizeRowsArgs& args) override;
  void do_merge_lora(const MergeLoraArgs& args) override;
  void do_fold_lora(const FoldLoraArgs& args) override;
  void do_ln_modulate(const LnModulateArgs& args) override;
  void do_layer_norm(const LayerNormArgs& args) override;
  void do_rms_norm(const RmsNormArgs& args) override;
  void do_qk_norm_rope(const QkNormRopeArgs& args) override;
  void do_group_norm(const GroupNormArgs& args) override;
  void do_activate(const ActivateArgs& args) override;
  void do_add(const BinaryArgs& args) override;
  void do_multiply(const BinaryArgs& args) override;
  void do_copy(const CopyArgs& args) override;
  void do_embed_rows(const EmbedRowsArgs& args) override;
  void do_timestep_embedding(const TimestepEmbeddingArgs& args) override;
  void do_unpack_latents(const LatentLayoutArgs& args) override;
  void do_pack_latents(const LatentLayoutArgs& args) override;
  void do_upsample2x(const Upsample2xArgs& args) override;
  void do_to_rgb8(const ToRgb8Args& args) override;
  void do_euler_step(const EulerStepArgs& args) override;
  void do_advance_step(const AdvanceStepArgs& args) override;

  // Calls `op` of the inner Ops with a copy of `args`, now and at each replay.
  template <class Args>
  void record(void (Ops::*op)(const Args&), const Args& args);

  Ops& inner_;
  bool recording_ = false;
  std::vector<std::function<void()>> calls_;
};

}  // namespace fx
