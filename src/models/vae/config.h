// The numbers of an AutoencoderKL. Defaults are those of FLUX.1's VAE.
#pragma once

#include <cstdint>
#include <vector>

namespace fx {

struct VaeConfig {
  int64_t image_channels = 3;
  int64_t latent_channels = 16;
  std::vector<int64_t> block_channels = {128, 256, 512, 512};
  int64_t layers_per_block = 2;
  int norm_groups = 32;
  float scaling_factor = 0.3611f;
  float shift_factor = 0.1159f;
  bool quant_conv = false;       // 1x1 after the encoder
  bool post_quant_conv = false;  // 1x1 before the decoder
  bool mid_attention = true;
  int64_t sample_size = 1024;

  // Pixels per latent.
  int64_t factor() const { return int64_t{1} << (block_channels.size() - 1); }
};

}  // namespace fx
