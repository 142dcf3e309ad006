// Building blocks of the VAE. They work channels last, in place on a small set of buffers.
// Source: CompVis/latent-diffusion, ldm/modules/diffusionmodules/model.py; names as diffusers' AutoencoderKL writes them.
#pragma once

#include <optional>
#include <vector>

#include "core/buffer.h"
#include "models/vae/config.h"
#include "nn/layers.h"
#include "nn/taps.h"

namespace fx {

inline constexpr float kVaeNormEps = 1e-6f;

// The picture being worked on, and two buffers for intermediate results. Each has the memory that it has needed so far.
class VaeCanvas {
 public:
  static constexpr int kBuffers = 3;
  VaeCanvas(Runtime& runtime, DType dtype) : runtime_(runtime), dtype_(dtype) {}

  // The current picture gets this shape; its contents are undefined until written.
  Tensor reset(int64_t batch, int64_t height, int64_t width, int64_t channels);
  const Tensor& x() const { return x_; }  // (B, H, W, C)
  // Scratch 0 or 1 as a picture of the current height and width times `scale`. Its contents are undefined; what was there
  // may be gone.
  Tensor scratch(int index, int64_t channels, int64_t scale = 1);
  Tensor scratch_of(int index, const Shape& shape);
  // The scratch buffer behind `image` becomes the picture, and the old picture becomes scratch.
  void adopt(int index, const Tensor& image);

 private:
  Tensor view(int buffer, const Shape& shape);

  Runtime& runtime_;
  DType dtype_;
  Buffer buffers_[kBuffers];
  int current_ = 0;
  int buffer_of_scratch(int index) const { return (current_ + 1 + index) % kBuffers; }
  Tensor x_;
};

class ResnetBlock {
 public:
  ResnetBlock(const ParamScope& scope, int64_t in, int64_t out, int groups);
  void forward(Ops& ops, VaeCanvas& canvas) const;

 private:
  GroupNorm norm1_, norm2_;
  Conv2d conv1_, conv2_;
  std::optional<Conv2d> shortcut_;
  int64_t out_;
};

// Single-head attention over all pixels.
class VaeAttention {
 public:
  VaeAttention(const ParamScope& scope, int64_t channels, int groups);
  void forward(Ops& ops, VaeCanvas& canvas) const;

 private:
  GroupNorm norm_;
  Linear q_, k_, v_, out_;
};

class VaeMidBlock {
 public:
  VaeMidBlock(const ParamScope& scope, const VaeConfig& config);
  void forward(Ops& ops, VaeCanvas& canvas) const;

 private:
  ResnetBlock first_;
  std::optional<VaeAttention> attention_;
  ResnetBlock second_;
};

}  // namespace fx
