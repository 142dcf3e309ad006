// The flow-match Euler schedule of diffusers (FlowMatchEulerDiscreteScheduler, as FluxPipeline uses it). Sigma is the
// share of noise in the latents: 1 is noise, 0 the picture. A step is latents += (sigma_next - sigma) * velocity.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace fx {

// The fields of scheduler_config.json under their own names, with the defaults of diffusers for absent ones.
struct SchedulerConfig {
  int num_train_timesteps = 1000;
  double shift = 1.0;                 // used when the shift does not depend on the size of the picture
  bool use_dynamic_shifting = false;  // true: mu grows with the number of image tokens, between the two points below
  double base_shift = 0.5;
  double max_shift = 1.15;
  int64_t base_image_seq_len = 256;
  int64_t max_image_seq_len = 4096;
  std::optional<double> shift_terminal;         // stretches the schedule so that its last sigma above 0 is this one
  std::string time_shift_type = "exponential";  // or "linear"
  // Known to diffusers, refused here when true.
  bool invert_sigmas = false;
  bool use_karras_sigmas = false;
  bool use_exponential_sigmas = false;
  bool use_beta_sigmas = false;
  bool stochastic_sampling = false;
};

// Throws unsupported, naming the field, for a value that we cannot run, and bad_file for one that makes no sense.
void check_supported(const SchedulerConfig& config);

// The shift for a picture of `image_tokens` tokens (height/16 * width/16 for FLUX): linear in their number.
double dynamic_shift_mu(const SchedulerConfig& config, int64_t image_tokens);

// `steps` + 1 falling values from 1 to 0: step i goes from sigma i to sigma i + 1. Computed in f32 in the order of
// numpy, so that the values equal those of diffusers. Throws invalid_argument for fewer than one step or token, and
// whatever check_supported throws.
std::vector<float> flow_match_sigmas(const SchedulerConfig& config, int steps, int64_t image_tokens);

// What the model is told at each of the `steps` steps: sigma * num_train_timesteps; the last sigma, 0, has none.
std::vector<float> flow_match_timesteps(const SchedulerConfig& config, std::span<const float> sigmas);

}  // namespace fx
