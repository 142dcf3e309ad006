// Convolution and upsampling, channels last. The windows of some output pixels are laid out as rows (kh, kw, I), which
// makes the convolution a product with the weight as it is; scratch memory bounds how many pixels go at a time.
#include <algorithm>

#include "backends/cuda/cuda_error.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/device_view.cuh"

namespace fx::cuda {
namespace {

constexpr int64_t kWindowFloats = int64_t{16} << 20;  // 64 MiB of windows at a time

struct Windows {
  const float* x;  // (H, W, I) of one picture
  int64_t height, width, channels, kernel_width, size, out_width;
  int stride, pad;
};

// windows: (pixels, kh * kw * I), of the output pixels from `first` on. Outside of the picture x is 0.
__global__ void gather_windows_kernel(Windows w, int64_t first, int64_t count, float* windows) {
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    const int64_t pixel = first + i / w.size, place = i % w.size;
    const int64_t c = place % w.channels, tap = place / w.channels;
    const int64_t y = pixel / w.out_width * w.stride - w.pad + tap / w.kernel_width;
    const int64_t x = pixel % w.out_width * w.stride - w.pad + tap % w.kernel_width;
    const bool inside = y >= 0 && y < w.height && x >= 0 && x < w.width;
    windows[i] = inside ? w.x[(y * w.width + x) * w.channels + c] : 0.0f;
  }
}

__global__ void add_bias_kernel(float* y, const float* bias, int64_t channels, int64_t count) {
  for (int64_t i = first_element(); i < count; i += element_stride()) y[i] += bias[i % channels];
}

__global__ void upsample2x_kernel(const float* x, float* y, int64_t height, int64_t width, int64_t channels,
                                  int64_t count) {
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    const int64_t c = i % channels, column = i / channels % width, row = i / channels / width % height;
    const int64_t batch = i / channels / width / height;
    y[i] = x[((batch * (height / 2) + row / 2) * (width / 2) + column / 2) * channels + c];
  }
}

}  // namespace

void CudaOps::do_conv2d(const Conv2dArgs& a) {
  if (a.y.count() == 0) return;
  const int64_t out = a.y.size(3), pixels = a.y.size(1) * a.y.size(2);
  const int64_t image = a.x.size(1) * a.x.size(2) * a.x.size(3);
  Windows w{.x = a.x.f32(), .height = a.x.size(1), .width = a.x.size(2), .channels = a.x.size(3)};
  w.kernel_width = a.weight.size(2);
  w.size = a.weight.size(1) * a.weight.size(2) * a.weight.size(3);
  w.out_width = a.y.size(2);
  w.stride = a.stride;
  w.pad = a.pad_begin;
  const bool single =
      w.size == w.channels && a.stride == 1 && a.pad_begin == 0 && a.pad_end == 0;  // pixels are windows
  const int64_t chunk = single ? pixels : std::clamp<int64_t>(kWindowFloats / w.size, 1, pixels);
  float* windows = single ? nullptr : scratch_.floats(chunk * w.size);
  for (int64_t b = 0; b < a.x.size(0); ++b) {
    w.x = a.x.f32() + b * image;
    for (int64_t first = 0; first < pixels; first += chunk) {
      const int64_t rows = std::min(chunk, pixels - first), count = rows * w.size;
      if (!single) {
        gather_windows_kernel<<<blocks_for(count), kThreads, 0, stream()>>>(w, first, count, windows);
        check_launch("conv2d: windows");
      }
      matmul_.run({.m = rows,
                   .n = out,
                   .k = w.size,
                   .x = single ? w.x : windows,
                   .x_stride = w.size,
                   .w = a.weight.f32(),
                   .w_stride = w.size,
                   .y = a.y.f32() + (b * pixels + first) * out,
                   .y_stride = out,
                   .beta = a.add ? 1.0f : 0.0f});
    }
  }
  if (!a.bias.defined()) return;
  add_bias_kernel<<<blocks_for(a.y.count()), kThreads, 0, stream()>>>(a.y.f32(), a.bias.f32(), out, a.y.count());
  check_launch("conv2d: bias");
}

void CudaOps::do_upsample2x(const Upsample2xArgs& a) {
  const int64_t count = a.y.count();
  if (count == 0) return;
  upsample2x_kernel<<<blocks_for(count), kThreads, 0, stream()>>>(a.x.f32(), a.y.f32(), a.y.size(1), a.y.size(2),
                                                                  a.y.size(3), count);
  check_launch("upsample2x");
}

}  // namespace fx::cuda
