#include "pipeline/denoiser.h"

#include <algorithm>

#include "core/error.h"
#include "pipeline/step_reports.h"

namespace fx {
namespace {

// Slots that grow leave recordings behind that are of no use any more.
constexpr size_t kMostArrangements = 8;

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
    canvases_.push_front({std::make_unique<FluxActivations>(ops_, flux_.config(), flux_.types(), sizes), {}});
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
  flux_.prepare(ops_, a, taps);
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

void Denoiser::advance(FluxActivations& a) {
  if (!use_recordings_ || !ops_.runtime().records()) return step(a);
  Canvas& canvas = canvas_of(a);
  const uint64_t signature = flux_.step_signature();
  Arrangement* arrangement = find(canvas, signature);
  if (!arrangement) {
    step(a);  // gives operations what they need to be recorded
    add(canvas, signature);
    return;
  }
  if (!arrangement->recording) {
    if (with_others_) {
      with_others_([&] {
        const uint64_t other = flux_.step_signature();
        if (!find(canvas, other)) record(a, add(canvas, other));
      });
    }
    record(a, *arrangement);
  }
  arrangement->recording->replay();
}

void Denoiser::record(FluxActivations& a, Arrangement& arrangement) {
  arrangement.recording = ops_.runtime().record([&] { step(a); });
  ++captures_;
}

Denoiser::Arrangement& Denoiser::add(Canvas& canvas, uint64_t signature) {
  canvas.arrangements.push_front({signature, nullptr});
  if (canvas.arrangements.size() > kMostArrangements) canvas.arrangements.pop_back();
  return canvas.arrangements.front();
}

Denoiser::Arrangement* Denoiser::find(Canvas& canvas, uint64_t signature) {
  auto& known = canvas.arrangements;
  const auto found = std::ranges::find(known, signature, &Arrangement::signature);
  if (found == known.end()) return nullptr;
  known.splice(known.begin(), known, found);
  return &known.front();
}

void Denoiser::run(FluxActivations& a, Taps* taps, const ProgressCallback& progress, std::span<const Phase> phases) {
  StepReports reports(ops_.runtime(), static_cast<int>(a.sizes.steps), progress);
  for (int i = 0; i < a.sizes.steps; ++i) {
    for (const Phase& phase : phases) {
      if (phase.first_step != i) continue;
      reports.catch_up();
      if (phase.enter()) flux_.prepare(ops_, a);
    }
    if (i == 0 && taps) step(a, taps);
    else advance(a);
    reports.issued();
  }
  reports.catch_up();
  ops_.runtime().synchronize();
}

}  // namespace fx
