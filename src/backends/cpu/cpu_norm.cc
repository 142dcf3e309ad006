// Norms: rows over the threads; group norm takes its statistics in fixed pieces of the image, so that they do not
// depend on the number of threads.
#include <algorithm>
#include <cmath>

#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/rows.h"

namespace fx {
namespace {

// Calls f(row index) for every row of x.
template <class Function>
void for_rows(ThreadPool& threads, const Tensor& x, const Function& f) {
  const int64_t rows = x.size(0) * x.size(1), channels = std::max<int64_t>(x.size(2), 1);
  threads.ranges(rows, kElementsPerThread / channels, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) f(row);
  });
}

}  // namespace

void CpuOps::do_ln_modulate(const LnModulateArgs& args) {
  const Rows x(args.x), y(args.y);
  const StepRows scale(args.scale), shift(args.shift);
  for_rows(threads_, args.x, [&](int64_t row) {
    const int64_t batch = row / x.per_batch;
    kernels_.layer_norm(x[row], scale[batch], 1.0f, shift[batch], y[row], args.x.size(2), args.eps);
  });
}

void CpuOps::do_layer_norm(const LayerNormArgs& args) {
  const Rows x(args.x), y(args.y);
  for_rows(threads_, args.x, [&](int64_t row) {
    kernels_.layer_norm(x[row], args.gain.f32(), 0.0f, args.bias.f32(), y[row], args.x.size(2), args.eps);
  });
}

void CpuOps::do_rms_norm(const RmsNormArgs& args) {
  const Rows x(args.x), y(args.y);
  for_rows(threads_, args.x,
           [&](int64_t row) { kernels_.rms_norm(x[row], args.gain.f32(), y[row], args.x.size(2), args.eps); });
}

void CpuOps::do_qk_norm_rope(const QkNormRopeArgs& args) {
  const int64_t tokens = args.q.size(1), heads = args.q.size(2), head_size = args.q.size(3);
  const int64_t grain = kElementsPerThread / std::max<int64_t>(2 * heads * head_size, 1);
  threads_.ranges(args.q.size(0) * tokens, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const float* pe = args.pe.f32() + row % tokens * head_size;
      for (int64_t n = 0; n < heads; ++n) {
        const auto head = [&](const Tensor& t) {
          return t.f32() + row / tokens * t.stride(0) + row % tokens * t.stride(1) + n * t.stride(2);
        };
        kernels_.norm_rope(head(args.q), args.q_gain.f32(), pe, head_size, args.eps);
        kernels_.norm_rope(head(args.k), args.k_gain.f32(), pe, head_size, args.eps);
      }
    }
  });
}

namespace {

// Mean and factor of each channel from the sums over the image, which `sums` holds as (2, C).
void group_factors(const GroupNormArgs& args, const double* sums, float* means, float* factors) {
  const int64_t channels = args.x.size(3), group_size = channels / args.groups;
  const auto count = static_cast<double>(args.x.size(1) * args.x.size(2) * group_size);
  for (int64_t first = 0; first < channels; first += group_size) {
    double sum = 0, squares = 0;
    for (int64_t c = first; c < first + group_size; ++c) sum += sums[c], squares += sums[channels + c];
    const double mean = sum / count, variance = std::max(squares / count - mean * mean, 0.0);
    const double inverse = 1 / std::sqrt(variance + args.eps);
    for (int64_t c = first; c < first + group_size; ++c) {
      means[c] = static_cast<float>(mean);
      factors[c] = static_cast<float>(inverse * args.gain.f32()[c]);
    }
  }
}

}  // namespace

void CpuOps::do_group_norm(const GroupNormArgs& args) {
  constexpr int64_t kPixelsPerPiece = 512;
  const int64_t pixels = args.x.size(1) * args.x.size(2), channels = args.x.size(3);
  const int64_t pieces = (pixels + kPixelsPerPiece - 1) / kPixelsPerPiece;
  // (pieces, 2, C) doubles, then means and factors, (C) floats each
  float* memory = scratch((pieces * 2 * 2 + 2) * channels);
  auto* sums = reinterpret_cast<double*>(memory);
  float *means = memory + pieces * 2 * 2 * channels, *factors = means + channels;
  const auto piece_pixels = [&](int64_t piece) { return std::min(kPixelsPerPiece, pixels - piece * kPixelsPerPiece); };

  for (int64_t b = 0; b < args.x.size(0); ++b) {
    const float* x = args.x.f32() + b * pixels * channels;
    float* y = args.y.f32() + b * pixels * channels;
    std::fill_n(sums, pieces * 2 * channels, 0.0);
    threads_.ranges(pieces, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        double* target = sums + i * 2 * channels;
        kernels_.channel_moments(x + i * kPixelsPerPiece * channels, piece_pixels(i), channels, target,
                                 target + channels);
      }
    });
    for (int64_t i = 1; i < pieces; ++i) {
      for (int64_t c = 0; c < 2 * channels; ++c) sums[c] += sums[i * 2 * channels + c];
    }
    group_factors(args, sums, means, factors);
    threads_.ranges(pieces, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i * kPixelsPerPiece * channels;
        kernels_.channel_norm(x + at, means, factors, args.bias.f32(), y + at, piece_pixels(i), channels, args.silu);
      }
    });
  }
}

}  // namespace fx
