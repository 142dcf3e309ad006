// Latents, pixels and the sampling step.
#include "backends/reference/ref_math.h"
#include "backends/reference/ref_ops.h"

namespace fx {
namespace {

// Calls f(packed element, latent element) for each pair. Token (i, j) holds the 2 x 2 pixels at (2i, 2j); its channels
// are (C, 2, 2).
template <class Function>
void for_each_pair(const LatentLayoutArgs& args, Function f) {
  const Tensor& latents = args.latents;
  const int64_t tokens_across = latents.size(2) / 2;
  for (int64_t b = 0; b < latents.size(0); ++b) {
    for (int64_t y = 0; y < latents.size(1); ++y) {
      for (int64_t x = 0; x < latents.size(2); ++x) {
        float* token = ref::at(args.packed, b, (y / 2) * tokens_across + x / 2);
        float* pixel = ref::at(latents, b, y, x);
        for (int64_t c = 0; c < latents.size(3); ++c) f(token[c * 4 + (y % 2) * 2 + x % 2], pixel[c]);
      }
    }
  }
}

}  // namespace

template <class Real>
void RefOps<Real>::do_unpack_latents(const LatentLayoutArgs& args) {
  const Real scaling = args.scaling, shift = args.shift;
  for_each_pair(args, [=](float& packed, float& latent) { latent = static_cast<float>(packed / scaling + shift); });
}

template <class Real>
void RefOps<Real>::do_pack_latents(const LatentLayoutArgs& args) {
  const Real scaling = args.scaling, shift = args.shift;
  for_each_pair(args, [=](float& packed, float& latent) { packed = static_cast<float>((latent - shift) * scaling); });
}

// In f32 by definition, so that every back-end gives the same bytes. NaN becomes 0.
template <class Real>
void RefOps<Real>::do_to_rgb8(const ToRgb8Args& args) {
  for (int64_t i = 0; i < args.x.count(); ++i) {
    const float value = args.x.f32()[i] * 0.5f + 0.5f;
    const float clamped = value > 0.0f ? (value < 1.0f ? value : 1.0f) : 0.0f;
    args.y.data<uint8_t>()[i] = static_cast<uint8_t>(std::nearbyint(255.0f * clamped));
  }
}

template <class Real>
void RefOps<Real>::do_euler_step(const EulerStepArgs& args) {
  const int32_t step = *args.step.i32();
  check(0 <= step && step + 1 < args.sigmas.size(0), ErrorCode::internal,
        "[euler_step] step {} of a schedule of {} steps", step, args.sigmas.size(0) - 1);
  const Real change = static_cast<Real>(*ref::at(args.sigmas, step + 1)) - *ref::at(args.sigmas, step);
  for (int64_t b = 0; b < args.sample.size(0); ++b) {
    for (int64_t l = 0; l < args.sample.size(1); ++l) {
      float* sample = ref::at(args.sample, b, l);
      const float* velocity = ref::at(args.velocity, b, l);
      for (int64_t c = 0; c < args.sample.size(2); ++c) {
        sample[c] = static_cast<float>(sample[c] + change * velocity[c]);
        check(std::isfinite(sample[c]), ErrorCode::device,
              "the latents are not finite after step {} of {}: the weights or an adapter overflow", step + 1,
              args.sigmas.size(0) - 1);
      }
    }
  }
}

template <class Real>
void RefOps<Real>::do_advance_step(const AdvanceStepArgs& args) {
  ++*args.step.i32();
}

template void RefOps<double>::do_unpack_latents(const LatentLayoutArgs&);
template void RefOps<float>::do_unpack_latents(const LatentLayoutArgs&);
template void RefOps<double>::do_pack_latents(const LatentLayoutArgs&);
template void RefOps<float>::do_pack_latents(const LatentLayoutArgs&);
template void RefOps<double>::do_to_rgb8(const ToRgb8Args&);
template void RefOps<float>::do_to_rgb8(const ToRgb8Args&);
template void RefOps<double>::do_euler_step(const EulerStepArgs&);
template void RefOps<float>::do_euler_step(const EulerStepArgs&);
template void RefOps<double>::do_advance_step(const AdvanceStepArgs&);
template void RefOps<float>::do_advance_step(const AdvanceStepArgs&);

}  // namespace fx
