// The numbers that make one FLUX transformer differ from another. Defaults are those of FLUX.1 [dev].
#pragma once

#include <cstdint>
#include <vector>

namespace fx {

struct FluxConfig {
  int64_t in_channels = 64;   // of a packed token: 4 x the latent channels
  int64_t out_channels = 64;
  int64_t double_blocks = 19;
  int64_t single_blocks = 38;
  int64_t heads = 24;
  int64_t head_dim = 128;
  int64_t context_dim = 4096;  // width of the T5 encoder
  int64_t vec_dim = 768;       // width of the pooled CLIP vector
  bool guidance_embed = true;
  std::vector<int64_t> axes_dim = {16, 56, 56};  // of a head, for (text, row, column); they add up to head_dim
  double theta = 10000.0;

  int64_t hidden() const { return heads * head_dim; }
  int64_t mlp_hidden() const { return 4 * hidden(); }
};

// Throws unsupported when the numbers contradict each other.
void validate(const FluxConfig& config);

}  // namespace fx
