#include "ops/recording_ops.h"

namespace fx {

template <class Args>
void RecordingOps::record(void (Ops::*op)(const Args&), const Args& args) {
  (inner_.*op)(args);
  if (recording_) calls_.push_back([&inner = inner_, op, args] { (inner.*op)(args); });
}

void RecordingOps::start_recording() {
  calls_.clear();
  recording_ = true;
}

void RecordingOps::replay() const {
  for (const auto& call : calls_) call();
}

void RecordingOps::do_linear(const LinearArgs& args) { record(&Ops::linear, args); }
void RecordingOps::do_attention(const AttentionArgs& args) { record(&Ops::attention, args); }
void RecordingOps::do_conv2d(const Conv2dArgs& args) { record(&Ops::conv2d, args); }
void RecordingOps::do_quantize_rows(const QuantizeRowsArgs& args) { record(&Ops::quantize_rows, args); }
void RecordingOps::do_merge_lora(const MergeLoraArgs& args) { record(&Ops::merge_lora, args); }
void RecordingOps::do_fold_lora(const FoldLoraArgs& args) { record(&Ops::fold_lora, args); }
void RecordingOps::do_ln_modulate(const LnModulateArgs& args) { record(&Ops::ln_modulate, args); }
void RecordingOps::do_layer_norm(const LayerNormArgs& args) { record(&Ops::layer_norm, args); }
void RecordingOps::do_rms_norm(const RmsNormArgs& args) { record(&Ops::rms_norm, args); }
void RecordingOps::do_qk_norm_rope(const QkNormRopeArgs& args) { record(&Ops::qk_norm_rope, args); }
void RecordingOps::do_group_norm(const GroupNormArgs& args) { record(&Ops::group_norm, args); }
void RecordingOps::do_activate(const ActivateArgs& args) { record(&Ops::activate, args); }
void RecordingOps::do_add(const BinaryArgs& args) { record(&Ops::add, args); }
void RecordingOps::do_multiply(const BinaryArgs& args) { record(&Ops::multiply, args); }
void RecordingOps::do_copy(const CopyArgs& args) { record(&Ops::copy, args); }
void RecordingOps::do_embed_rows(const EmbedRowsArgs& args) { record(&Ops::embed_rows, args); }
void RecordingOps::do_timestep_embedding(const TimestepEmbeddingArgs& args) {
  record(&Ops::timestep_embedding, args);
}
void RecordingOps::do_unpack_latents(const LatentLayoutArgs& args) { record(&Ops::unpack_latents, args); }
void RecordingOps::do_pack_latents(const LatentLayoutArgs& args) { record(&Ops::pack_latents, args); }
void RecordingOps::do_upsample2x(const Upsample2xArgs& args) { record(&Ops::upsample2x, args); }
void RecordingOps::do_to_rgb8(const ToRgb8Args& args) { record(&Ops::to_rgb8, args); }
void RecordingOps::do_euler_step(const EulerStepArgs& args) { record(&Ops::euler_step, args); }
void RecordingOps::do_advance_step(const AdvanceStepArgs& args) { record(&Ops::advance_step, args); }

}  // namespace fx
