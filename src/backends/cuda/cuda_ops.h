// Operations on an NVIDIA GPU, in f32, bf16 and e4m3: matrix products through cuBLASLt, attention and convolutions through
// cuDNN, everything else in kernels of our own, one file per family.
//
// What keeps it graph-safe: one stream; plans, workspace and scratch memory are made at the first call with a shape and
// keep their addresses; step, LoRA segments and ids are read by the kernels, which note faults instead of throwing
// (device_fault.h).
#pragma once

#include "backends/cuda/convolution.h"
#include "backends/cuda/device_runtime.h"
#include "backends/cuda/matmul.h"
#include "backends/cuda/scratch.h"
#include "backends/cuda/sdpa.h"
#include "backends/make_ops.h"
#include "ops/ops.h"

namespace fx::cuda {

class CudaOps final : public Ops {
 public:
  // Throws what CudaRuntime, Matmul and CudnnSession throw, and unsupported if this build has no kernels for the GPU.
  explicit CudaOps(const CudaOptions& options = {});
  ~CudaOps() override;
  Runtime& runtime() override { return runtime_; }
  std::string_view backend_name() const override { return "cuda"; }
  bool computes_in(DType dtype) const override {
    return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f8_e4m3;
  }
  bool multiplies_in(DType dtype) const override;

 private:
  void do_linear(const LinearArgs& args) override;                         // cuda_linear.cc
  void do_quantize_rows(const QuantizeRowsArgs& args) override;            // quantize.cu
  void do_merge_lora(const MergeLoraArgs& args) override;                  // merge.cu
  void do_fold_loras(const FoldLorasArgs& args) override;                  // lora_fold.cu
  void do_attention(const AttentionArgs& args) override;                   // cuda_attention.cu
  void do_conv2d(const Conv2dArgs& args) override;                         // cuda_conv.cu
  void do_upsample2x(const Upsample2xArgs& args) override;                 // cuda_conv.cu
  void do_ln_modulate(const LnModulateArgs& args) override;                // cuda_norm.cu
  void do_layer_norm(const LayerNormArgs& args) override;                  // cuda_norm.cu
  void do_rms_norm(const RmsNormArgs& args) override;                      // cuda_norm.cu
  void do_qk_norm_rope(const QkNormRopeArgs& args) override;               // cuda_qk_norm_rope.cu
  void do_group_norm(const GroupNormArgs& args) override;                  // cuda_group_norm.cu
  void do_activate(const ActivateArgs& args) override;                     // cuda_pointwise.cu
  void do_add(const BinaryArgs& args) override;                            // cuda_pointwise.cu
  void do_multiply(const BinaryArgs& args) override;                       // cuda_pointwise.cu
  void do_copy(const CopyArgs& args) override;                             // cuda_copy.cu
  void do_embed_rows(const EmbedRowsArgs& args) override;                  // cuda_pointwise.cu
  void do_timestep_embedding(const TimestepEmbeddingArgs& args) override;  // cuda_pointwise.cu
  void do_unpack_latents(const LatentLayoutArgs& args) override;           // cuda_latents.cu
  void do_pack_latents(const LatentLayoutArgs& args) override;             // cuda_latents.cu
  void do_to_rgb8(const ToRgb8Args& args) override;                        // cuda_latents.cu
  void do_euler_step(const EulerStepArgs& args) override;                  // cuda_latents.cu
  void do_advance_step(const AdvanceStepArgs& args) override;              // cuda_latents.cu

  cudaStream_t stream() const { return runtime_.stream(); }
  DeviceFault* fault() const { return runtime_.fault(); }

  CudaOptions options_;
  CudaRuntime runtime_;
  Matmul matmul_;
  Scratch scratch_;
  CudnnSession cudnn_;
  Sdpa sdpa_;
  Convolution convolution_;
  Scratch widened_;  // queries and keys in bf16 where attention has no e4m3
};

// Whether this build has kernels for the GPU that is current. (cuda_pointwise.cu)
cudaError_t probe_kernels();

}  // namespace fx::cuda
