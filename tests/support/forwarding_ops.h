// A back-end, and a device, that hand everything on to another: for tests that change one thing about it.
#pragma once

#include <memory>
#include <utility>

#include "ops/ops.h"

namespace fx::test {

class ForwardingRuntime : public Runtime {
 public:
  explicit ForwardingRuntime(Runtime& inner) : inner_(inner) {}
  std::string device_name() const override { return inner_.device_name(); }
  void* allocate(size_t bytes) override { return inner_.allocate(bytes); }
  void release(void* data, size_t bytes) noexcept override { inner_.release(data, bytes); }
  void copy(void* target, const void* source, size_t bytes, CopyKind kind) override {
    inner_.copy(target, source, bytes, kind);
  }
  void fill_zero(void* target, size_t bytes) override { inner_.fill_zero(target, bytes); }
  void synchronize() override { inner_.synchronize(); }
  MemoryInfo memory() const override { return inner_.memory(); }
  size_t available() const override { return inner_.available(); }
  std::unique_ptr<Staging> stage(size_t bytes) override { return inner_.stage(bytes); }
  bool records() const override { return inner_.records(); }
  std::unique_ptr<Recording> record(const std::function<void()>& work) override { return inner_.record(work); }

 private:
  Runtime& inner_;
};

class ForwardingOps : public Ops {
 public:
  explicit ForwardingOps(std::unique_ptr<Ops> inner) : inner_(std::move(inner)), now_(inner_.get()) {}
  Runtime& runtime() override { return inner_->runtime(); }
  std::string_view backend_name() const override { return inner_->backend_name(); }
  bool computes_in(DType dtype) const override { return inner_->computes_in(dtype); }
  bool multiplies_in(DType dtype) const override { return inner_->multiplies_in(dtype); }

 protected:
  Ops& inner() const { return *inner_; }
  // Where calls go from now on.
  void forward_to(Ops& ops) { now_ = &ops; }

 private:
  void do_linear(const LinearArgs& args) override { now_->linear(args); }
  void do_attention(const AttentionArgs& args) override { now_->attention(args); }
  void do_conv2d(const Conv2dArgs& args) override { now_->conv2d(args); }
  void do_quantize_rows(const QuantizeRowsArgs& args) override { now_->quantize_rows(args); }
  void do_merge_lora(const MergeLoraArgs& args) override { now_->merge_lora(args); }
  void do_fold_lora(const FoldLoraArgs& args) override { now_->fold_lora(args); }
  void do_ln_modulate(const LnModulateArgs& args) override { now_->ln_modulate(args); }
  void do_layer_norm(const LayerNormArgs& args) override { now_->layer_norm(args); }
  void do_rms_norm(const RmsNormArgs& args) override { now_->rms_norm(args); }
  void do_qk_norm_rope(const QkNormRopeArgs& args) override { now_->qk_norm_rope(args); }
  void do_group_norm(const GroupNormArgs& args) override { now_->group_norm(args); }
  void do_activate(const ActivateArgs& args) override { now_->activate(args); }
  void do_add(const BinaryArgs& args) override { now_->add(args); }
  void do_multiply(const BinaryArgs& args) override { now_->multiply(args); }
  void do_copy(const CopyArgs& args) override { now_->copy(args); }
  void do_embed_rows(const EmbedRowsArgs& args) override { now_->embed_rows(args); }
  void do_timestep_embedding(const TimestepEmbeddingArgs& args) override { now_->timestep_embedding(args); }
  void do_unpack_latents(const LatentLayoutArgs& args) override { now_->unpack_latents(args); }
  void do_pack_latents(const LatentLayoutArgs& args) override { now_->pack_latents(args); }
  void do_upsample2x(const Upsample2xArgs& args) override { now_->upsample2x(args); }
  void do_to_rgb8(const ToRgb8Args& args) override { now_->to_rgb8(args); }
  void do_euler_step(const EulerStepArgs& args) override { now_->euler_step(args); }
  void do_advance_step(const AdvanceStepArgs& args) override { now_->advance_step(args); }

  std::unique_ptr<Ops> inner_;
  Ops* now_;
};

}  // namespace fx::test
