// Channels-last images.
#include "backends/cpu/kernels/table.h"
#include "backends/cpu/kernels/vec_math.h"

namespace fx::FX_ISA {
namespace {

// In double, because the variance is taken as the mean of squares minus the square of the mean.
void channel_moments(const float* x, int64_t pixels, int64_t channels, double* sums, double* squares) {
  for (int64_t p = 0; p < pixels; ++p, x += channels) {
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) {
      const double value = x[c];
      sums[c] += value;
      squares[c] += value * value;
    }
  }
}

template <class Act>
void norm(const float* x, const float* mean, const float* factor, const float* bias, float* y, int64_t pixels,
          int64_t channels, Act act) {
  const int64_t rest = channels % kLanes;
  for (int64_t p = 0; p < pixels; ++p, x += channels, y += channels) {
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) {
      store(y + c, act((load(x + c) - load(mean + c)) * load(factor + c) + load(bias + c)));
    }
    if (rest > 0) {
      const auto part = [c, rest](const float* p) { return load_part(p + c, rest); };
      store_part(y + c, act((part(x) - part(mean)) * part(factor) + part(bias)), rest);
    }
  }
}

void channel_norm(const float* x, const float* mean, const float* factor, const float* bias, float* y, int64_t pixels,
                  int64_t channels, bool with_silu) {
  if (with_silu) {
    norm(x, mean, factor, bias, y, pixels, channels, [](Vec v) { return silu(v); });
  } else {
    norm(x, mean, factor, bias, y, pixels, channels, [](Vec v) { return v; });
  }
}

void to_rgb8(const float* x, uint8_t* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float value = x[i] * 0.5f + 0.5f;
    const float low = value > 0.0f ? value : 0.0f;  // NaN becomes 0
    const float clamped = low < 1.0f ? low : 1.0f;
    y[i] = static_cast<uint8_t>(static_cast<int32_t>(__builtin_rintf(255.0f * clamped)));
  }
}

}  // namespace

void fill_image(Kernels& kernels) {
  kernels.channel_moments = channel_moments;
  kernels.channel_norm = channel_norm;
  kernels.to_rgb8 = to_rgb8;
}

}  // namespace fx::FX_ISA
