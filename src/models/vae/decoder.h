// Latents to picture.
#pragma once

#include "models/vae/blocks.h"

namespace fx {

class VaeDecoder {
 public:
  VaeDecoder(ParamStore& store, const VaeConfig& config);

  // packed (B, h/2 * w/2, 4 * latent_channels), as the transformer leaves them -> image (B, H, W, 3) f32, nominally in
  // [-1, 1], where H = factor * h. Applies scaling and shift. Allocates its activations for the call.
  void forward(Ops& ops, const Tensor& packed, const Tensor& image, Taps* taps = nullptr) const;

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
