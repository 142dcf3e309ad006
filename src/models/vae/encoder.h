// Picture to latents: the mean of the posterior.
#pragma once

#include "models/vae/blocks.h"

namespace fx {

class VaeEncoder {
 public:
  VaeEncoder(ParamStore& store, const VaeConfig& config);

  // image (B, H, W, 3) in [-1, 1] -> mean (B, H / factor, W / factor, latent_channels), before scaling and shift.
  // Allocates its activations for the call.
  void forward(Ops& ops, const Tensor& image, const Tensor& mean) const;

 private:
  struct DownBlock {
    std::vector<ResnetBlock> resnets;
    std::optional<Conv2d> downsampler;
  };

  VaeConfig config_;
  Conv2d conv_in_;
  std::vector<DownBlock> down_blocks_;
  VaeMidBlock mid_block_;
  GroupNorm norm_out_;
  Conv2d conv_out_;  // to 2 * latent_channels: mean and log variance
  std::optional<Conv2d> quant_conv_;
};

}  // namespace fx
