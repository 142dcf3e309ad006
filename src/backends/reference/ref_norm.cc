// Norms over channels, over heads (with rope) and over groups. Statistics are taken in two passes.
#include <vector>

#include "backends/reference/ref_math.h"
#include "backends/reference/ref_ops.h"
#include "core/quantize.h"

namespace fx {
namespace {

template <class Real>
struct Moments {
  Real mean, inverse_deviation;
};

template <class Real>
Moments<Real> moments(const float* x, int64_t count, Real eps) {
  Real mean = 0, variance = 0;
  for (int64_t c = 0; c < count; ++c) mean += x[c];
  mean /= count;
  for (int64_t c = 0; c < count; ++c) variance += (x[c] - mean) * (x[c] - mean);
  return {mean, 1 / std::sqrt(variance / count + eps)};
}

template <class Real>
Real inverse_rms(const float* x, int64_t count, Real eps) {
  return 1 / std::sqrt(ref::dot<Real>(x, x, count) / count + eps);
}

// x: (D), one head of one token; pe: (D/2, 2), cosine and sine of its position.
template <class Real>
void norm_rope(float* x, const float* gain, const float* pe, int64_t head_size, Real eps) {
  const Real inverse = inverse_rms<Real>(x, head_size, eps);
  for (int64_t i = 0; i < head_size; i += 2) {
    const Real cosine = pe[i], sine = pe[i + 1];
    const Real even = x[i] * inverse * gain[i], odd = x[i + 1] * inverse * gain[i + 1];
    x[i] = static_cast<float>(even * cosine - odd * sine);
    x[i + 1] = static_cast<float>(even * sine + odd * cosine);
  }
}

}  // namespace

template <class Real>
void RefOps<Real>::do_ln_modulate(const LnModulateArgs& args) {
  const int64_t channels = args.x.size(2);
  const bool quantized = args.y.dtype() == DType::f8_e4m3;
  std::vector<float> row(channels);
  for (int64_t b = 0; b < args.x.size(0); ++b) {
    const float* scale = ref::row_of_step(args.scale, b);
    const float* shift = ref::row_of_step(args.shift, b);
    for (int64_t l = 0; l < args.x.size(1); ++l) {
      const float* x = ref::at(args.x, b, l);
      float* y = quantized ? row.data() : ref::at(args.y, b, l);
      const Moments<Real> m = moments<Real>(x, channels, args.eps);
      for (int64_t c = 0; c < channels; ++c) {
        y[c] = static_cast<float>((x[c] - m.mean) * m.inverse_deviation * (1 + static_cast<Real>(scale[c])) + shift[c]);
      }
      if (quantized) *ref::at(args.y_scale, b, l) = quantize_row(y, channels, ref::at<uint8_t>(args.y, b, l));
    }
  }
}

template <class Real>
void RefOps<Real>::do_layer_norm(const LayerNormArgs& args) {
  const int64_t channels = args.x.size(2);
  for (int64_t b = 0; b < args.x.size(0); ++b) {
    for (int64_t l = 0; l < args.x.size(1); ++l) {
      const float* x = ref::at(args.x, b, l);
      float* y = ref::at(args.y, b, l);
      const Moments<Real> m = moments<Real>(x, channels, args.eps);
      for (int64_t c = 0; c < channels; ++c) {
        y[c] =
            static_cast<float>((x[c] - m.mean) * m.inverse_deviation * *ref::at(args.gain, c) + *ref::at(args.bias, c));
      }
    }
  }
}

template <class Real>
void RefOps<Real>::do_rms_norm(const RmsNormArgs& args) {
  const int64_t channels = args.x.size(2);
  for (int64_t b = 0; b < args.x.size(0); ++b) {
    for (int64_t l = 0; l < args.x.size(1); ++l) {
      const float* x = ref::at(args.x, b, l);
      float* y = ref::at(args.y, b, l);
      const Real inverse = inverse_rms<Real>(x, channels, args.eps);
      for (int64_t c = 0; c < channels; ++c) y[c] = static_cast<float>(x[c] * inverse * *ref::at(args.gain, c));
    }
  }
}

template <class Real>
void RefOps<Real>::do_qk_norm_rope(const QkNormRopeArgs& args) {
  const int64_t head_size = args.q.size(3);
  for (int64_t b = 0; b < args.q.size(0); ++b) {
    for (int64_t l = 0; l < args.q.size(1); ++l) {
      const float* pe = ref::at(args.pe, l);
      for (int64_t n = 0; n < args.q.size(2); ++n) {
        norm_rope<Real>(ref::at(args.q, b, l, n), args.q_gain.f32(), pe, head_size, args.eps);
        norm_rope<Real>(ref::at(args.k, b, l, n), args.k_gain.f32(), pe, head_size, args.eps);
      }
    }
  }
}

template <class Real>
void RefOps<Real>::do_group_norm(const GroupNormArgs& args) {
  const int64_t pixels = args.x.size(1) * args.x.size(2), channels = args.x.size(3);
  const int64_t group_size = channels / args.groups;
  std::vector<float> group(pixels * group_size);  // the group's elements, dense
  for (int64_t b = 0; b < args.x.size(0); ++b) {
    for (int64_t g = 0; g < args.groups; ++g) {
      const float* x = ref::at(args.x, b) + g * group_size;  // the image is dense
      float* y = ref::at(args.y, b) + g * group_size;
      for (int64_t p = 0; p < pixels; ++p) {
        for (int64_t c = 0; c < group_size; ++c) group[p * group_size + c] = x[p * channels + c];
      }
      const Moments<Real> m = moments<Real>(group.data(), pixels * group_size, args.eps);
      for (int64_t p = 0; p < pixels; ++p) {
        for (int64_t c = 0; c < group_size; ++c) {
          const Real value =
              (group[p * group_size + c] - m.mean) * m.inverse_deviation * *ref::at(args.gain, g * group_size + c) +
              *ref::at(args.bias, g * group_size + c);
          y[p * channels + c] = static_cast<float>(args.silu ? ref::activate<Real>(Activation::silu, value) : value);
        }
      }
    }
  }
}

template void RefOps<double>::do_ln_modulate(const LnModulateArgs&);
template void RefOps<float>::do_ln_modulate(const LnModulateArgs&);
template void RefOps<double>::do_layer_norm(const LayerNormArgs&);
template void RefOps<float>::do_layer_norm(const LayerNormArgs&);
template void RefOps<double>::do_rms_norm(const RmsNormArgs&);
template void RefOps<float>::do_rms_norm(const RmsNormArgs&);
template void RefOps<double>::do_qk_norm_rope(const QkNormRopeArgs&);
template void RefOps<float>::do_qk_norm_rope(const QkNormRopeArgs&);
template void RefOps<double>::do_group_norm(const GroupNormArgs&);
template void RefOps<float>::do_group_norm(const GroupNormArgs&);

}  // namespace fx
