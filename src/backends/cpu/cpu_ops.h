// Operations on CPU threads: work is split here, the inner loops are in kernels/. All of it is f32.
//
// Matrix products are our own. One core of a Zen 4 (AVX-512, peak about 117 GFLOP/s), GFLOP per second of CPU time:
//   rows x columns x depth   oneDNN 2.6: sgemm   matmul, plain weight   PyTorch 2.11 (MKL)   here, bias and
//                                                                                         activation included
//   1024 x 2304 x  768              110                  105                    96             107
//   1024 x  768 x 3072              106                  107                    97             103
//   1536 x 5376 x  768 (GELU)       111                  105                    96             103
//    320 x  768 x  192 (GELU)       108                  112                   103              92
// What the library's percent or two would cost: passes over memory for bias, activation, gate and residual, which here
// run on tiles in the first-level cache; a product of its own for LoRA, which here joins the sum; allocations in every
// call; results that change with the number of threads; and a pool that waits for threads another process has displaced.
#pragma once

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/thread_pool.h"
#include "core/buffer.h"
#include "ops/ops.h"

namespace fx {

class CpuOps final : public Ops {
 public:
  // `threads` >= 1.
  CpuOps(int threads, InstructionSet set);
  Runtime& runtime() override { return *runtime_; }
  std::string_view backend_name() const override { return "cpu"; }

 private:
  void do_linear(const LinearArgs& args) override;
  void do_attention(const AttentionArgs& args) override;
  void do_conv2d(const Conv2dArgs& args) override;
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

  // Memory for one operation at a time, at least `floats` long; grows when a larger shape comes for the first time.
  float* scratch(int64_t floats);

  ThreadPool threads_;
  const Kernels& kernels_;
  std::unique_ptr<Runtime> runtime_;
  Buffer scratch_;
};

}  // namespace fx
