// Times each operation of a step on its own. A back-end that records runs it several times as one launch, so that what is
// measured is the device's work and not the host's; others run it several times between two synchronisations. What
// repeating does: operands that fit the device's cache are found there, and sums in place go on, so values drift.
#pragma once

#include <functional>
#include <map>

#include "bench_cost.h"
#include "ops/ops.h"

namespace fx::cli {

struct OpTotal {
  OpCost cost;  // of one call
  int calls = 0;
  double seconds = 0;  // of all calls
};

class ProfilingOps final : public Ops {
 public:
  explicit ProfilingOps(Ops& inner) : inner_(inner) {}

  Runtime& runtime() override { return inner_.runtime(); }
  std::string_view backend_name() const override { return inner_.backend_name(); }
  bool computes_in(DType dtype) const override { return inner_.computes_in(dtype); }
  bool multiplies_in(DType dtype) const override { return inner_.multiplies_in(dtype); }

  // From here on operations are timed; until then they just run.
  void start() { timing_ = true; }
  // By time, longest first.
  std::vector<OpTotal> totals() const;

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

  template <class Args>
  void time(void (Ops::*op)(const Args&), const Args& args, const OpCost& cost);
  // For what changes the state of the loop: timed as one launch with all that this costs.
  template <class Args>
  void time_once(void (Ops::*op)(const Args&), const Args& args, const OpCost& cost);
  double seconds_each(const std::function<void()>& call);
  void note(const OpCost& cost, double seconds);

  Ops& inner_;
  bool timing_ = false;
  std::map<std::string, OpTotal> totals_;
};

}  // namespace fx::cli
