// Latents, pixels and the sampling step.
#include <algorithm>
#include <cmath>
#include <span>

#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/rows.h"

namespace fx {
namespace {

// Calls f(packed element, latent element) for each pair; a few kilobytes per image, so on one thread.
template <class Function>
void for_each_pair(const LatentLayoutArgs& args, const Function& f) {
  const int64_t height = args.latents.size(1), width = args.latents.size(2), channels = args.latents.size(3);
  for (int64_t b = 0; b < args.latents.size(0); ++b) {
    float* latents = args.latents.f32() + b * height * width * channels;
    float* packed = args.packed.f32() + b * height * width * channels;
    for (int64_t y = 0; y < height; ++y) {
      for (int64_t x = 0; x < width; ++x) {
        float* token = packed + (y / 2 * (width / 2) + x / 2) * 4 * channels + y % 2 * 2 + x % 2;
        float* pixel = latents + (y * width + x) * channels;
        for (int64_t c = 0; c < channels; ++c) f(token[c * 4], pixel[c]);
      }
    }
  }
}

}  // namespace

void CpuOps::do_unpack_latents(const LatentLayoutArgs& args) {
  for_each_pair(args, [&](float& packed, float& latent) { latent = packed / args.scaling + args.shift; });
}

void CpuOps::do_pack_latents(const LatentLayoutArgs& args) {
  for_each_pair(args, [&](float& packed, float& latent) { packed = (latent - args.shift) * args.scaling; });
}

void CpuOps::do_to_rgb8(const ToRgb8Args& args) {
  threads_.ranges(args.x.count(), kElementsPerThread, [&](int64_t begin, int64_t end, int) {
    kernels_.to_rgb8(args.x.f32() + begin, args.y.data<uint8_t>() + begin, end - begin);
  });
}

void CpuOps::do_euler_step(const EulerStepArgs& args) {
  const int32_t step = *args.step.i32();
  check(0 <= step && step + 1 < args.sigmas.size(0), ErrorCode::internal,
        "[euler_step] step {} of a schedule of {} steps", step, args.sigmas.size(0) - 1);
  const float* sigmas = args.sigmas.f32() + step * args.sigmas.stride(0);
  const float change = sigmas[args.sigmas.stride(0)] - sigmas[0];
  const Rows sample(args.sample), velocity(args.velocity);
  for (int64_t row = 0; row < args.sample.size(0) * args.sample.size(1); ++row) {
    kernels_.add_scaled(change, velocity[row], sample[row], args.sample.size(2));
    const std::span<const float> values(sample[row], static_cast<size_t>(args.sample.size(2)));
    check(std::ranges::all_of(values, [](float v) { return std::isfinite(v); }), ErrorCode::device,
          "the latents are not finite after step {} of {}: the weights or an adapter overflow", step + 1,
          args.sigmas.size(0) - 1);
  }
}

void CpuOps::do_advance_step(const AdvanceStepArgs& args) { ++*args.step.i32(); }

}  // namespace fx
