// Operations on an NVIDIA GPU, f32: matrix products through cuBLASLt, everything else in kernels of our own, one file per
// family. Under construction: it compiles, and has not run on a GPU yet.
//
// What keeps it graph-safe: one stream; plans, workspace and scratch memory are made at the first call with a shape and
// keep their addresses; step, LoRA segments and ids are read by the kernels, which note faults instead of throwing
// (device_fault.h).
#pragma once

#include "backends/cuda/device_runtime.h"
#include "backends/cuda/matmul.h"
#include "backends/cuda/scratch.h"
#include "ops/ops.h"

namespace fx::cuda {

class CudaOps final : public Ops {
 public:
  // Throws what CudaRuntime and Matmul throw, and unsupported if this build has no kernels for the GPU.
  CudaOps();
  ~CudaOps() override;
  Runtime& runtime() override { return runtime_; }
  std::string_view backend_name() const override { return "cuda"; }

 private:
  void do_linear(const LinearArgs& args) override;                         // cuda_linear.cu
  void do_attention(const AttentionArgs& args) override;                   // cuda_attention.cu
  void do_conv2d(const Conv2dArgs& args) override;                         // cuda_conv.cu
  void do_upsample2x(const Upsample2xArgs& args) override;                 // cuda_conv.cu
  void do_ln_modulate(const LnModulateArgs& args) override;                // cuda_norm.cu
  void do_layer_norm(const LayerNormArgs& args) override;                  // cuda_norm.cu
  void do_rms_norm(const RmsNormArgs& args) override;                      // cuda_norm.cu
  void do_qk_norm_rope(const QkNormRopeArgs& args) override;               // cuda_norm.cu
  void do_group_norm(const GroupNormArgs& args) override;                  // cuda_group_norm.cu
  void do_activate(const ActivateArgs& args) override;                     // cuda_pointwise.cu
  void do_add(const BinaryArgs& args) override;                            // cuda_pointwise.cu
  void do_multiply(const BinaryArgs& args) override;                       // cuda_pointwise.cu
  void do_copy(const CopyArgs& args) override;                             // cuda_pointwise.cu
  void do_embed_rows(const EmbedRowsArgs& args) override;                  // cuda_pointwise.cu
  void do_timestep_embedding(const TimestepEmbeddingArgs& args) override;  // cuda_pointwise.cu
  void do_unpack_latents(const LatentLayoutArgs& args) override;           // cuda_latents.cu
  void do_pack_latents(const LatentLayoutArgs& args) override;             // cuda_latents.cu
  void do_to_rgb8(const ToRgb8Args& args) override;                        // cuda_latents.cu
  void do_euler_step(const EulerStepArgs& args) override;                  // cuda_latents.cu
  void do_advance_step(const AdvanceStepArgs& args) override;              // cuda_latents.cu

  cudaStream_t stream() const { return runtime_.stream(); }
  DeviceFault* fault() const { return runtime_.fault(); }

  CudaRuntime runtime_;
  Matmul matmul_;
  Scratch scratch_;
};

// Whether this build has kernels for the GPU that is current. (cuda_pointwise.cu)
cudaError_t probe_kernels();

}  // namespace fx::cuda
