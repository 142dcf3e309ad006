#include "pipeline/denoiser.h"

#include <algorithm>

#include "core/error.h"
#include "pipeline/step_reports.h"

namespace fx {
namespace {

void expect_shape(const char* what, const HostTensor& tensor, const Shape& expected) {
  check(tensor.shape == expected, ErrorCode::invalid_argument, "{}: expected {}, found {}", what, to_string(expected),
        to_string(tensor.shape));
}

}  // namespace

FluxActivations& Denoiser::activations(const FluxSizes& sizes) {
  const auto found = std::ranges::find_if(canvases_, [&](const Canvas& c) { return c.activations->sizes == sizes; });
  if (found != canvases_.end()) {
    canvases_.splice(canvases_.begin(), canvases_, found);
  } else {
    // Before the new ones are there: never more in memory than the limit, or one.
    make_room(FluxActivations::bytes_for(flux_.config(), flux_.types(), sizes));
    canvases_.push_front({std::make_unique<FluxActivations>(ops_, flux_.config(), flux_.types(), sizes), {}, {}});
  }
  return *canvases_.front().activations;
}

void Denoiser::make_room(size_t bytes) {
  size_t kept = 0;
  for (const Canvas& canvas : canvases_) kept += canvas.activations->bytes();
  if (!canvases_.empty()) ops_.runtime().synchronize();
  while (!canvases_.empty() && kept + bytes > memory_limit_) {
    kept -= canvases_.back().activations->bytes();
    canvases_.pop_back();
  }
}

Denoiser::Canvas& Denoiser::canvas_of(const FluxActivations& a) {
  const auto found = std::ranges::find_if(canvases_, [&](const Canvas& c) { return c.activations.get() == &a; });
  check(found != canvases_.end(), ErrorCode::internal, "these activations are not this denoiser's");
  return *found;
}

void Denoiser::begin(FluxActivations& a, const DrawLatents& draw_latents, const Conditions& conditions,
                     const std::vector<float>& sigmas, const std::vector<float>& timesteps, double guidance,
                     Taps* taps) {
  const int64_t B = a.sizes.batch;
  expect_shape("prompt_embeds", conditions.prompt_embeds, {B, a.sizes.txt_tokens, flux_.config().context_dim});
  expect_shape("pooled_prompt_embeds", conditions.pooled, {B, flux_.config().vec_dim});
  upload(ops_, conditions.pooled.values, a.pooled);
  upload(ops_, sigmas, a.sigmas);
  upload(ops_, timesteps, a.timesteps);
  upload(ops_, std::vector<float>{static_cast<float>(guidance) * 1000.0f}, a.guidance);
  upload(ops_, std::vector<int32_t>{0}, a.step);
  if (taps) flux_.prepare(ops_, a, taps);
  else prepare(a);
  // The host works while the device computes that.
  const std::vector<float> latents = draw_latents();
  check(static_cast<int64_t>(latents.size()) == a.latents.count(), ErrorCode::invalid_argument,
        "latents: expected {} values for {}, found {}", a.latents.count(), describe(a.latents), latents.size());
  upload(ops_, conditions.prompt_embeds.values, a.context);
  upload(ops_, latents, a.latents);
}

void Denoiser::step(FluxActivations& a, Taps* taps) {
  flux_.forward(ops_, a, taps);
  ops_.euler_step({.sample = a.latents, .velocity = a.velocity, .sigmas = a.sigmas, .step = a.step});
  ops_.advance_step({.step = a.step});
}

// Recorded at once, so that a second picture of a size records nothing; of one step it is not worth while.
void Denoiser::prepare(FluxActivations& a) {
  if (!records() || a.sizes.steps == 1) return flux_.prepare(ops_, a);
  Arrangements& known = canvas_of(a).prepares;
  const uint64_t signature = flux_.prepare_signature();
  if (Arrangements::One* const one = known.find(signature)) return one->recording->replay();
  flux_.prepare(ops_, a);
  std::unique_ptr<Recording> recording = record([&] { flux_.prepare(ops_, a); });
  known.add(signature).recording = std::move(recording);
}

void Denoiser::advance(FluxActivations& a) {
  if (!records()) return step(a);
  Arrangements& known = canvas_of(a).steps;
  const uint64_t signature = flux_.step_signature();
  Arrangements::One* const now = known.find(signature);
  if (!now) {
    step(a);  // gives operations what they need to be recorded
    known.add(signature);
    return;
  }
  const auto record_step = [&] { return record([&] { step(a); }); };
  if (!now->recording) {
    if (with_others_) {
      with_others_([&] {
        const uint64_t other = flux_.step_signature();
        if (known.find(other)) return;
        try {
          std::unique_ptr<Recording> recording = record_step();
          known.add(other).recording = std::move(recording);
        } catch (const Error&) {}  // the picture that needs it will see
      });
    }
    now->recording = record_step();
  }
  now->recording->replay();
}

std::unique_ptr<Recording> Denoiser::record(const std::function<void()>& work) {
  std::unique_ptr<Recording> recording = ops_.runtime().record(work);
  ++captures_;
  return recording;
}

void Denoiser::run(FluxActivations& a, Taps* taps, const ProgressCallback& progress, std::span<const Phase> phases) {
  StepReports reports(ops_.runtime(), static_cast<int>(a.sizes.steps), progress);
  for (int i = 0; i < a.sizes.steps; ++i) {
    for (const Phase& phase : phases) {
      if (phase.first_step != i) continue;
      reports.catch_up();
      if (phase.enter()) prepare(a);
    }
    if (i == 0 && taps) step(a, taps);
    else advance(a);
    reports.issued();
  }
  reports.catch_up();
  ops_.runtime().synchronize();
}

}  // namespace fx
