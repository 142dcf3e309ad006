#include "pipeline/denoiser.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/error.h"

namespace fx {
namespace {

void expect_shape(const char* what, const HostTensor& tensor, const Shape& expected) {
  check(tensor.shape == expected, ErrorCode::invalid_argument, "{}: expected {}, found {}", what, to_string(expected),
        to_string(tensor.shape));
}

}  // namespace

FluxActivations& Denoiser::activations(const FluxSizes& sizes) {
  if (!activations_ || activations_->sizes != sizes) {
    activations_.reset();  // never two sets in memory
    activations_ = std::make_unique<FluxActivations>(ops_, flux_.config(), sizes);
  }
  return *activations_;
}

void Denoiser::begin(FluxActivations& a, std::span<const float> latents, const Conditions& conditions,
                     const std::vector<float>& sigmas, const std::vector<float>& timesteps, double guidance,
                     Taps* taps) {
  const int64_t B = a.sizes.batch;
  expect_shape("prompt_embeds", conditions.prompt_embeds, {B, a.sizes.txt_tokens, flux_.config().context_dim});
  expect_shape("pooled_prompt_embeds", conditions.pooled, {B, flux_.config().vec_dim});
  check(static_cast<int64_t>(latents.size()) == a.latents.count(), ErrorCode::invalid_argument,
        "latents: expected {} values for {}, found {}", a.latents.count(), describe(a.latents), latents.size());
  upload(ops_, std::vector<float>(latents.begin(), latents.end()), a.latents);
  upload(ops_, conditions.prompt_embeds.values, a.context);
  upload(ops_, conditions.pooled.values, a.pooled);
  upload(ops_, sigmas, a.sigmas);
  upload(ops_, timesteps, a.timesteps);
  upload(ops_, std::vector<float>{static_cast<float>(guidance) * 1000.0f}, a.guidance);
  upload(ops_, std::vector<int32_t>{0}, a.step);
  flux_.prepare(ops_, a, taps);
}

void Denoiser::step(FluxActivations& a, Taps* taps) {
  flux_.forward(ops_, a, taps);
  ops_.euler_step({.sample = a.latents, .velocity = a.velocity, .sigmas = a.sigmas, .step = a.step});
  ops_.advance_step({.step = a.step});
}

void Denoiser::run(FluxActivations& a, Taps* taps, const ProgressCallback& progress, std::span<const Phase> phases) {
  using Clock = std::chrono::steady_clock;
  const auto steps = static_cast<int>(a.sizes.steps);
  const auto report = [&](int done, double seconds) {
    if (!progress) return;
    const Progress now{Stage::denoise, done, steps, done > 0 ? seconds / done : 0.0};
    const bool go_on = progress(now) || done == steps;  // nothing is left to cancel after the last step
    check(go_on, ErrorCode::cancelled, "cancelled after step {} of {}", done, steps);
  };
  const auto start = Clock::now();
  report(0, 0.0);
  for (int i = 0; i < steps; ++i) {
    for (const Phase& phase : phases) {
      if (phase.first_step == i && phase.enter()) flux_.prepare(ops_, a);
    }
    step(a, i == 0 ? taps : nullptr);
    ops_.runtime().synchronize();
    report(i + 1, std::chrono::duration<double>(Clock::now() - start).count());
  }
  const std::vector<float> result = download(ops_, a.latents);
  check(std::ranges::all_of(result, [](float v) { return std::isfinite(v); }), ErrorCode::device,
        "the latents are not finite after {} steps: the weights or an adapter overflow", steps);
}

}  // namespace fx
