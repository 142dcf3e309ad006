// Convolution as a sum of matrix products, one per kernel tap: a tile is twelve output pixels by a panel of output
// channels, and its row pointers move over the image. No patch matrix is built.
#include <algorithm>

#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/parallel.h"

namespace fx {
namespace {

struct Convolution {
  const Kernels& kernels;
  const Conv2dArgs& a;
  const float* zeros;  // (I): what lies outside of the image
  int64_t channels, taps_down, taps_across, width_out, pixels;

  Convolution(const Kernels& k, const Conv2dArgs& args, const float* zero_row)
      : kernels(k), a(args), zeros(zero_row), channels(args.x.size(3)), taps_down(args.weight.size(1)),
        taps_across(args.weight.size(2)), width_out(args.y.size(2)),
        pixels(args.y.size(0) * args.y.size(1) * width_out) {}

  int64_t depth() const { return taps_down * taps_across * channels; }

  // Output pixels [first, first + rows) and channels [column, column + columns).
  void tile(int64_t first, int rows, int64_t column, int columns, const float* panel) const {
    const int64_t height = a.x.size(1), width = a.x.size(2), height_out = a.y.size(1);
    const float *x[kMaxTileRows], *image[kMaxTileRows];
    int64_t top[kMaxTileRows], left[kMaxTileRows];
    float* y[kMaxTileRows];
    for (int i = 0; i < rows; ++i) {
      const int64_t pixel = first + i, line = pixel / width_out;
      top[i] = line % height_out * a.stride - a.pad_begin;
      left[i] = pixel % width_out * a.stride - a.pad_begin;
      image[i] = a.x.f32() + line / height_out * height * width * channels;
      y[i] = a.y.f32() + pixel * a.y.size(3) + column;
    }
    alignas(64) float c[kMaxTileRows * kMaxTileColumns];
    for (int64_t ky = 0; ky < taps_down; ++ky) {
      for (int64_t kx = 0; kx < taps_across; ++kx) {
        for (int i = 0; i < rows; ++i) {
          const int64_t row = top[i] + ky, col = left[i] + kx;
          const bool inside = row >= 0 && row < height && col >= 0 && col < width;
          x[i] = inside ? image[i] + (row * width + col) * channels : zeros;
        }
        kernels.multiply(x, rows, panel, channels, c, kernels.tile_columns, ky + kx > 0);
        panel += channels * kernels.tile_columns;
      }
    }
    kernels.finish_tile({.c = c,
                         .bias = a.bias.defined() ? a.bias.f32() + column : nullptr,
                         .gate = nullptr,
                         .y = y,
                         .rows = rows,
                         .columns = columns,
                         .activation = Activation::none,
                         .add = a.add});
  }
};

}  // namespace

void CpuOps::do_conv2d(const Conv2dArgs& args) {
  const int64_t out = args.y.size(3), width = kernels_.tile_columns;
  const int64_t panels = (out + width - 1) / width;
  const int64_t depth = args.weight.size(1) * args.weight.size(2) * args.x.size(3);
  float* memory = scratch(args.x.size(3) + panels * width * depth);
  float* packed = memory + args.x.size(3);
  std::fill_n(memory, args.x.size(3), 0.0f);
  const Convolution conv(kernels_, args, memory);

  parallel_ranges(threads_, panels, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t p = begin; p < end; ++p) {
      const int count = static_cast<int>(std::min<int64_t>(width, out - p * width));
      kernels_.pack_transposed(args.weight.f32() + p * width * depth, depth, count, depth, packed + p * width * depth);
    }
  });
  // Pixels are split over the threads. Within a thread, a panel serves a stretch of pixels that fits the caches.
  constexpr int64_t kStretch = 768;
  const int64_t tiles = (conv.pixels + kernels_.tile_rows - 1) / kernels_.tile_rows;
  parallel_ranges(threads_, tiles, 1, [&](int64_t begin, int64_t end, int) {
    const int64_t first = begin * kernels_.tile_rows, last = std::min(end * kernels_.tile_rows, conv.pixels);
    for (int64_t stretch = first; stretch < last; stretch += kStretch) {
      const int64_t stop = std::min(stretch + kStretch, last);
      for (int64_t p = 0; p < panels; ++p) {
        const int columns = static_cast<int>(std::min<int64_t>(width, out - p * width));
        for (int64_t pixel = stretch; pixel < stop; pixel += kernels_.tile_rows) {
          conv.tile(pixel, static_cast<int>(std::min<int64_t>(kernels_.tile_rows, stop - pixel)), p * width, columns,
                    packed + p * width * depth);
        }
      }
    }
  });
}

void CpuOps::do_upsample2x(const Upsample2xArgs& args) {
  const int64_t width = args.x.size(2), channels = args.x.size(3);
  const int64_t lines = args.x.size(0) * args.x.size(1);  // batch and height together: the image is dense
  parallel_ranges(threads_, lines, kElementsPerThread / std::max<int64_t>(width * channels, 1), [&](int64_t begin, int64_t end, int) {
    for (int64_t line = begin; line < end; ++line) {
      const float* x = args.x.f32() + line * width * channels;
      float* y = args.y.f32() + line * 4 * width * channels;
      for (int64_t j = 0; j < width; ++j) {
        std::copy_n(x + j * channels, channels, y + 2 * j * channels);
        std::copy_n(x + j * channels, channels, y + (2 * j + 1) * channels);
      }
      std::copy_n(y, 2 * width * channels, y + 2 * width * channels);
    }
  });
}

}  // namespace fx
