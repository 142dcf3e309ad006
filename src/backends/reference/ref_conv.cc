// Convolution and upsampling, channels last.
#include "backends/reference/ref_math.h"
#include "backends/reference/ref_ops.h"

namespace fx {
namespace {

// One output element: the kernel `o` over the window whose top left pixel is (top, left), outside of which x is 0.
template <class Real>
Real convolve(const Conv2dArgs& args, int64_t b, int64_t top, int64_t left, int64_t o) {
  const int64_t height = args.x.size(1), width = args.x.size(2);
  Real sum = 0;
  for (int64_t ky = 0; ky < args.weight.size(1); ++ky) {
    for (int64_t kx = 0; kx < args.weight.size(2); ++kx) {
      const int64_t y = top + ky, x = left + kx;
      if (y < 0 || y >= height || x < 0 || x >= width) continue;
      sum += ref::dot<Real>(ref::at(args.x, b, y, x), ref::at(args.weight, o, ky, kx), args.x.size(3));
    }
  }
  return sum;
}

}  // namespace

template <class Real>
void RefOps<Real>::do_conv2d(const Conv2dArgs& args) {
  for (int64_t b = 0; b < args.y.size(0); ++b) {
    for (int64_t i = 0; i < args.y.size(1); ++i) {
      for (int64_t j = 0; j < args.y.size(2); ++j) {
        float* y = ref::at(args.y, b, i, j);
        for (int64_t o = 0; o < args.y.size(3); ++o) {
          Real sum = convolve<Real>(args, b, i * args.stride - args.pad_begin, j * args.stride - args.pad_begin, o);
          if (args.bias.defined()) sum += *ref::at(args.bias, o);
          y[o] = static_cast<float>(args.add ? y[o] + sum : sum);
        }
      }
    }
  }
}

template <class Real>
void RefOps<Real>::do_upsample2x(const Upsample2xArgs& args) {
  for (int64_t b = 0; b < args.y.size(0); ++b) {
    for (int64_t i = 0; i < args.y.size(1); ++i) {
      for (int64_t j = 0; j < args.y.size(2); ++j) {
        const float* x = ref::at(args.x, b, i / 2, j / 2);
        float* y = ref::at(args.y, b, i, j);
        for (int64_t c = 0; c < args.y.size(3); ++c) y[c] = x[c];
      }
    }
  }
}

template void RefOps<double>::do_conv2d(const Conv2dArgs&);
template void RefOps<float>::do_conv2d(const Conv2dArgs&);
template void RefOps<double>::do_upsample2x(const Upsample2xArgs&);
template void RefOps<float>::do_upsample2x(const Upsample2xArgs&);

}  // namespace fx
