// Convolution as a sum of matrix products, one per kernel tap: a tile is twelve output pixels by a panel of output
// channels, and its row pointers move over the image. No patch matrix is built.
#include <algorithm>

#include "backends/cpu/cpu_ops.h"

namespace fx {
namespace {

// With so few output channels (the last convolution of a decoder has three), most of a panel would be padding.
constexpr int64_t kFewColumns = 4;

struct Convolution {
  const Kernels& kernels;
  const Conv2dArgs& a;
  const float* zeros;   // (I): what lies outside of the image
  const float* packed;  // panels of the weight, (taps, I, tile_columns) each; unused for few columns
  int64_t channels = a.x.size(3), columns = a.y.size(3), width_out = a.y.size(2);
  int taps = static_cast<int>(a.weight.size(1) * a.weight.size(2));
  int64_t depth = taps * channels, pixels = a.y.size(0) * a.y.size(1) * width_out;

  int64_t panels() const { return (columns + kernels.tile_columns - 1) / kernels.tile_columns; }

  // Where the windows of output pixels [first, first + rows) lie in x: `pieces` is (taps, rows).
  void gather(int64_t first, int rows, const float** pieces) const {
    const int64_t height = a.x.size(1), width = a.x.size(2), height_out = a.y.size(1);
    for (int i = 0; i < rows; ++i) {
      const int64_t pixel = first + i, line = pixel / width_out;
      const int64_t top = line % height_out * a.stride - a.pad_begin, left = pixel % width_out * a.stride - a.pad_begin;
      const float* image = a.x.f32() + line / height_out * height * width * channels;
      const float** piece = pieces + i;
      for (int64_t y = top; y < top + a.weight.size(1); ++y) {
        const bool row_inside = y >= 0 && y < height;
        for (int64_t x = left; x < left + a.weight.size(2); ++x, piece += rows) {
          *piece = row_inside && x >= 0 && x < width ? image + (y * width + x) * channels : zeros;
        }
      }
    }
  }

  // Output pixels [first, first + rows) by the channels of one panel.
  void tile(int64_t first, int rows, const float* const* pieces, int64_t panel) const {
    const int64_t column = panel * kernels.tile_columns;
    const int count = static_cast<int>(std::min<int64_t>(kernels.tile_columns, columns - column));
    float* y[kMaxTileRows];
    for (int i = 0; i < rows; ++i) {
      y[i] = a.y.f32() + (first + i) * columns + column;
      __builtin_prefetch(y[i], 1);
      __builtin_prefetch(y[i] + 16, 1);
    }
    alignas(64) float c[kMaxTileRows * kMaxTileColumns];
    const TileRows x{pieces, rows, taps, channels};
    if (columns <= kFewColumns) {
      kernels.multiply_few(x, a.weight.f32(), depth, count, c);
    } else {
      kernels.multiply(x, packed + column * depth, c, kMaxTileColumns, false);
    }
    kernels.finish_tile({.c = c,
                         .bias = a.bias.defined() ? a.bias.f32() + column : nullptr,
                         .gate = nullptr,
                         .y = y,
                         .rows = rows,
                         .columns = count,
                         .activation = Activation::none,
                         .add = a.add});
  }
};

// Pixels that a thread takes at a time. A panel serves all of them while they stay in the second-level cache beside it
// (about 400 KB of x), their windows are found once, and each thread gets equally many.
int64_t stretch_of(const Convolution& conv, int threads) {
  const int64_t most = std::clamp<int64_t>(96 * 1024 / std::max<int64_t>(conv.channels, 1), 96, 768);
  const int64_t rounds = (conv.pixels + most * threads - 1) / (most * threads);
  const int64_t equal = (conv.pixels + rounds * threads - 1) / (rounds * threads);
  return (equal + conv.kernels.tile_rows - 1) / conv.kernels.tile_rows * conv.kernels.tile_rows;
}

}  // namespace

void CpuOps::do_conv2d(const Conv2dArgs& args) {
  Convolution conv{.kernels = kernels_, .a = args, .zeros = nullptr, .packed = nullptr};
  const int64_t stretch = stretch_of(conv, threads_.threads());
  const int64_t zeros_floats = (conv.channels + 15) / 16 * 16, pieces_floats = 2 * stretch * conv.taps;
  const int64_t packed_floats = conv.panels() * kernels_.tile_columns * conv.depth;
  float* memory = scratch(zeros_floats + packed_floats + threads_.threads() * pieces_floats);
  float *packed = memory + zeros_floats, *all_pieces = packed + packed_floats;
  std::fill_n(memory, conv.channels, 0.0f);
  conv.zeros = memory;
  conv.packed = packed;

  if (conv.columns > kFewColumns) {
    threads_.ranges(conv.panels(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t panel = begin; panel < end; ++panel) {
        const int64_t column = panel * kernels_.tile_columns;
        const int count = static_cast<int>(std::min<int64_t>(kernels_.tile_columns, conv.columns - column));
        kernels_.pack_transposed(args.weight.f32() + column * conv.depth, conv.depth, count, conv.depth,
                                 packed + column * conv.depth);
      }
    });
  }
  threads_.ranges((conv.pixels + stretch - 1) / stretch, 1, [&](int64_t begin, int64_t end, int thread) {
    const auto** pieces = reinterpret_cast<const float**>(all_pieces + thread * pieces_floats);
    for (int64_t first = begin * stretch; first < std::min(end * stretch, conv.pixels); first += stretch) {
      const auto each_tile = [&](auto&& work) {
        const int64_t stop = std::min(first + stretch, conv.pixels);
        for (int64_t pixel = first; pixel < stop; pixel += kernels_.tile_rows) {
          const int rows = static_cast<int>(std::min<int64_t>(kernels_.tile_rows, stop - pixel));
          work(pixel, rows, pieces + (pixel - first) * conv.taps);
        }
      };
      each_tile([&](int64_t pixel, int rows, const float** at) { conv.gather(pixel, rows, at); });
      for (int64_t panel = 0; panel < conv.panels(); ++panel) {
        each_tile([&](int64_t pixel, int rows, const float** at) { conv.tile(pixel, rows, at, panel); });
      }
    }
  });
}

void CpuOps::do_upsample2x(const Upsample2xArgs& args) {
  const int64_t width = args.x.size(2), channels = args.x.size(3);
  const int64_t lines = args.x.size(0) * args.x.size(1);  // batch and height together: the image is dense
  threads_.ranges(lines, kElementsPerThread / std::max<int64_t>(width * channels, 1),
                  [&](int64_t begin, int64_t end, int) {
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
