#include "sampling/flow_match_euler.h"

#include <cmath>

#include "core/error.h"

namespace fx {
namespace {

// numpy.linspace(1, 1 / steps, steps), rounded to f32 at the end.
std::vector<float> unshifted_sigmas(int steps) {
  std::vector<float> sigmas;
  const double last = 1.0 / steps;
  const double spacing = steps > 1 ? (last - 1.0) / (steps - 1) : 0.0;
  for (int i = 0; i < steps; ++i) sigmas.push_back(static_cast<float>(i * spacing + 1.0));
  if (steps > 1) sigmas.back() = static_cast<float>(last);
  return sigmas;
}

// Moves sigma towards noise: strength / (strength + (1/sigma - 1)).
float shifted_by(float strength, float sigma) { return strength / (strength + (1.0f / sigma - 1.0f)); }

float shifted_statically(double shift, float sigma) {
  return static_cast<float>(shift) * sigma / (1.0f + static_cast<float>(shift - 1.0) * sigma);
}

void stretch_to_terminal(std::vector<float>& sigmas, double terminal) {
  check(sigmas.size() > 1, ErrorCode::invalid_argument,
        "the scheduler's shift_terminal needs 2 steps or more, found 1 step");
  const float scale = (1.0f - sigmas.back()) / static_cast<float>(1.0 - terminal);
  for (float& sigma : sigmas) sigma = 1.0f - (1.0f - sigma) / scale;
}

}  // namespace

void check_supported(const SchedulerConfig& config) {
  const std::pair<const char*, bool> refused[] = {{"invert_sigmas", config.invert_sigmas},
                                                  {"use_karras_sigmas", config.use_karras_sigmas},
                                                  {"use_exponential_sigmas", config.use_exponential_sigmas},
                                                  {"use_beta_sigmas", config.use_beta_sigmas},
                                                  {"stochastic_sampling", config.stochastic_sampling}};
  for (const auto& [field, value] : refused) {
    check(!value, ErrorCode::unsupported, "scheduler config: {} is true, which fluxswap does not support", field);
  }
  check(config.time_shift_type == "exponential" || config.time_shift_type == "linear", ErrorCode::unsupported,
        "scheduler config: time_shift_type: expected 'exponential' or 'linear', found '{}'", config.time_shift_type);
  check(config.num_train_timesteps > 0, ErrorCode::bad_file,
        "scheduler config: num_train_timesteps: expected 1 or more, found {}", config.num_train_timesteps);
  check(config.shift > 0 && std::isfinite(config.shift), ErrorCode::bad_file,
        "scheduler config: shift: expected a number above 0, found {}", config.shift);
  check(!config.use_dynamic_shifting || config.base_image_seq_len != config.max_image_seq_len, ErrorCode::bad_file,
        "scheduler config: base_image_seq_len and max_image_seq_len must differ, found {} for both",
        config.base_image_seq_len);
  const double terminal = config.shift_terminal.value_or(0);
  check(terminal >= 0 && terminal < 1, ErrorCode::bad_file,
        "scheduler config: shift_terminal: expected a number from 0 to below 1, found {}", terminal);
}

double dynamic_shift_mu(const SchedulerConfig& config, int64_t image_tokens) {
  const double slope = (config.max_shift - config.base_shift) /
                       static_cast<double>(config.max_image_seq_len - config.base_image_seq_len);
  const double at_zero = config.base_shift - slope * static_cast<double>(config.base_image_seq_len);
  return static_cast<double>(image_tokens) * slope + at_zero;
}

std::vector<float> flow_match_sigmas(const SchedulerConfig& config, int steps, int64_t image_tokens) {
  check_supported(config);
  check(steps >= 1, ErrorCode::invalid_argument, "expected 1 step or more, found {}", steps);
  check(image_tokens >= 1, ErrorCode::invalid_argument, "expected 1 image token or more, found {}", image_tokens);
  std::vector<float> sigmas = unshifted_sigmas(steps);
  if (config.use_dynamic_shifting) {
    const double mu = dynamic_shift_mu(config, image_tokens);
    const auto strength = static_cast<float>(config.time_shift_type == "linear" ? mu : std::exp(mu));
    for (float& sigma : sigmas) sigma = shifted_by(strength, sigma);
  } else {
    for (float& sigma : sigmas) sigma = shifted_statically(config.shift, sigma);
  }
  if (config.shift_terminal.value_or(0) != 0) stretch_to_terminal(sigmas, *config.shift_terminal);
  sigmas.push_back(0.0f);
  return sigmas;
}

std::vector<float> flow_match_timesteps(const SchedulerConfig& config, std::span<const float> sigmas) {
  std::vector<float> timesteps;
  for (size_t i = 0; i + 1 < sigmas.size(); ++i) {
    timesteps.push_back(sigmas[i] * static_cast<float>(config.num_train_timesteps));
  }
  return timesteps;
}

}  // namespace fx
