// Latents to picture.
#pragma once

#include "models/vae/blocks.h"

namespace fx {

class VaeDecoder {
 public:
  VaeDecoder(ParamStore& store, const VaeConfig& config);

  // packed (B, h/2 * w/2, 4 * latent_channels) f32, as the transformer leaves them -> latents (B, h, w, latent_channels).
  // Applies scaling and shift.
  void unpack(Ops& ops, const Tensor& packed, const Tensor& latents) const;
  // latents (B, h, w, latent_channels) -> image (B, H, W, 3), nominally in [-1, 1], where H = factor * h. Allocates its
  // activations for the call.
  void forward(Ops& ops, const Tensor& latents, const Tensor& image, Taps* taps = nullptr) const;
  // At most so much device memory do these activations take for a picture with h x w latents.
  size_t bytes(int64_t h, int64_t w, DType dtype) const;

 private:
  struct UpBlock {
    std::vector<ResnetBlock> resnets;
    std::optional<Conv2d> upsampler;
  };

  // The largest intermediate of a picture with h x w latents, in elements.
  int64_t capacity(int64_t h, int64_t w) const;

  VaeConfig config_;
  std::optional<Conv2d> post_quant_conv_;
  Conv2d conv_in_;
  VaeMidBlock mid_block_;
  std::vector<UpBlock> up_blocks_;
  GroupNorm norm_out_;
  Conv2d conv_out_;
};

}  // namespace fx
