// Convolution and upsampling, channels last. bf16 goes through cuDNN. Where that does not go, and in f32, the windows of
// some output pixels are laid out as rows (kh, kw, I), which makes the convolution a product with the weight as it is;
// scratch memory bounds how many pixels go at a time.
#include <algorithm>

#include "backends/cuda/cuda_error.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/device_view.cuh"

namespace fx::cuda {
namespace {

constexpr int64_t kWindowBytes = int64_t{64} << 20;  // of windows at a time
constexpr int kVector = 8;

template <class T>
struct Windows {
  const T* x;  // (H, W, I) of one picture
  int64_t height, width, channels, kernel_width, size, out_width;
  int stride, pad;
};

// windows: (pixels, kh * kw * I), of the output pixels from `first` on. Outside of the picture x is 0.
template <class T>
__global__ void gather_windows_kernel(Windows<T> w, int64_t first, int64_t count, T* windows) {
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    const int64_t pixel = first + i / w.size, place = i % w.size;
    const int64_t c = place % w.channels, tap = place / w.channels;
    const int64_t y = pixel / w.out_width * w.stride - w.pad + tap / w.kernel_width;
    const int64_t x = pixel % w.out_width * w.stride - w.pad + tap % w.kernel_width;
    const bool inside = y >= 0 && y < w.height && x >= 0 && x < w.width;
    windows[i] = inside ? w.x[(y * w.width + x) * w.channels + c] : from_float<T>(0.0f);
  }
}

template <class T>
void windows_and_product(const Conv2dArgs& a, Matmul& matmul, Scratch& scratch, cudaStream_t stream) {
  const int64_t out = a.y.size(3), pixels = a.y.size(1) * a.y.size(2);
  const int64_t image = a.x.size(1) * a.x.size(2) * a.x.size(3);
  Windows<T> w{.x = a.x.data<T>(), .height = a.x.size(1), .width = a.x.size(2), .channels = a.x.size(3)};
  w.kernel_width = a.weight.size(2);
  w.size = a.weight.size(1) * a.weight.size(2) * a.weight.size(3);
  w.out_width = a.y.size(2);
  w.stride = a.stride;
  w.pad = a.pad_begin;
  const bool single =
      w.size == w.channels && a.stride == 1 && a.pad_begin == 0 && a.pad_end == 0;  // pixels are windows
  constexpr int64_t kItem = sizeof(T);
  const int64_t chunk = single ? pixels : std::clamp<int64_t>(kWindowBytes / kItem / w.size, 1, pixels);
  T* windows = single ? nullptr : reinterpret_cast<T*>(scratch.floats(ceil_div(chunk * w.size * kItem, 4)));
  for (int64_t b = 0; b < a.x.size(0); ++b) {
    w.x = a.x.data<T>() + b * image;
    for (int64_t first = 0; first < pixels; first += chunk) {
      const int64_t rows = std::min(chunk, pixels - first), count = rows * w.size;
      if (!single) {
        gather_windows_kernel<<<blocks_for(count), kThreads, 0, stream>>>(w, first, count, windows);
        check_launch("conv2d: windows");
      }
      Product product{.m = rows, .n = out, .k = w.size, .type = a.x.dtype(), .y_type = a.x.dtype()};
      product.x = single ? w.x : windows;
      product.x_stride = w.size;
      product.w = a.weight.raw();
      product.w_stride = w.size;
      product.y = a.y.data<T>() + (b * pixels + first) * out;
      product.y_stride = out;
      product.beta = a.add ? 1.0f : 0.0f;
      matmul.run(product);
    }
  }
}

// `count` groups of n neighbouring channels, `groups` of them in a pixel.
template <class T, int n>
__global__ void add_bias_kernel(T* y, const T* bias, int64_t groups, int64_t count) {
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    float v[n], more[n];
    load(y + i * n, v);
    load(bias + i % groups * n, more);
#pragma unroll
    for (int j = 0; j < n; ++j) v[j] += more[j];
    store(y + i * n, v);
  }
}

void add_bias(const Conv2dArgs& a, cudaStream_t stream) {
  dispatch<kVector>(a.y.dtype(), fit_vectors(kVector, a.y, a.bias), [&](auto type, auto width) {
    using T = typename decltype(type)::type;
    constexpr int n = decltype(width)::value;
    const int64_t count = a.y.count() / n;
    add_bias_kernel<T, n>
        <<<blocks_for(count), kThreads, 0, stream>>>(a.y.data<T>(), a.bias.data<const T>(), a.y.size(3) / n, count);
  });
  check_launch("conv2d: bias");
}

ConvolutionProblem problem_of(const Conv2dArgs& a) {
  ConvolutionProblem p{.dtype = a.x.dtype(), .bias_dtype = a.x.dtype(), .batch = a.x.size(0)};
  p.height = a.x.size(1);
  p.width = a.x.size(2);
  p.in = a.x.size(3);
  p.out = a.weight.size(0);
  p.kernel_height = a.weight.size(1);
  p.kernel_width = a.weight.size(2);
  p.stride = a.stride;
  p.pad_begin = a.pad_begin;
  p.pad_end = a.pad_end;
  p.x = a.x.raw();
  p.w = a.weight.raw();
  p.bias = a.bias.raw();
  p.residual = a.add ? a.y.raw() : nullptr;
  p.y = a.y.raw();
  return p;
}

bool aligned(const Tensor& t) { return reinterpret_cast<uintptr_t>(t.raw()) % 16 == 0; }

// x: (B, H, W, C) in groups of n channels, `groups` of them in a pixel; each goes to four places.
template <class T, int n>
__global__ void upsample2x_kernel(const T* x, T* y, int64_t width, int64_t groups, int64_t count) {
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    const int64_t pixel = i / groups, c = i % groups * n, channels = groups * n;
    const int64_t row = pixel / width, column = pixel % width;  // rows counted through the batch
    float v[n];
    load(x + i * n, v);
    T* corner = y + (2 * row * 2 * width + 2 * column) * channels + c;
    store(corner, v);
    store(corner + channels, v);
    store(corner + 2 * width * channels, v);
    store(corner + (2 * width + 1) * channels, v);
  }
}

}  // namespace

void CudaOps::do_conv2d(const Conv2dArgs& a) {
  if (a.y.count() == 0) return;
  bool biased = false;
  const ConvolutionProblem problem = problem_of(a);
  if (a.x.dtype() == DType::bf16 && aligned(a.x) && aligned(a.weight) && aligned(a.bias) && aligned(a.y) &&
      convolution_.supports(problem)) {
    biased = convolution_.run(problem);
  } else {
    dispatch(a.x.dtype(),
             [&](auto type) { windows_and_product<typename decltype(type)::type>(a, matmul_, scratch_, stream()); });
  }
  if (a.bias.defined() && !biased) add_bias(a, stream());
}

void CudaOps::do_upsample2x(const Upsample2xArgs& a) {
  if (a.y.count() == 0) return;
  dispatch<kVector>(a.x.dtype(), fit_vectors(kVector, a.x, a.y), [&](auto type, auto width) {
    using T = typename decltype(type)::type;
    constexpr int n = decltype(width)::value;
    const int64_t count = a.x.count() / n;
    upsample2x_kernel<T, n><<<blocks_for(count), kThreads, 0, stream()>>>(a.x.data<const T>(), a.y.data<T>(),
                                                                          a.x.size(2), a.x.size(3) / n, count);
  });
  check_launch("upsample2x");
}

}  // namespace fx::cuda
