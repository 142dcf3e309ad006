#include "pipeline/decode.h"

#include <algorithm>
#include <cmath>

#include "core/arena.h"
#include "core/error.h"
#include "core/parallel.h"
#include "models/vae/tiling.h"

namespace fx {
namespace {

constexpr int64_t kOverlap = 16;  // latents: beyond that a pixel's neighbourhood counts little
constexpr int kChannels = 3;

void check_finite(bool finite) {
  check(finite, ErrorCode::device,
        "the decoded picture is not finite: the weights of the VAE overflow, or the latents do");
}

class Decoding {
 public:
  Decoding(Ops& ops, const Model& model, const HostTensor& packed, int64_t width, int64_t height)
      : ops_(ops),
        vae_(model.decoder),
        factor_(model.configs.vae.factor()),
        width_(width),
        height_(height),
        dtype_(model.vae_params.activations()),
        arena_(ops.runtime()),
        latents_(arena_.allocate(dtype_, {1, height / factor_, width / factor_, model.configs.vae.latent_channels})) {
    const Tensor tokens = arena_.f32(packed.shape);
    upload(ops_, packed.values, tokens);
    vae_.unpack(ops_, tokens, latents_);
  }

  Image whole(Taps* taps) {
    const Tensor pixels = decode(latents_, taps);
    if (taps) taps->record(ops_, "vae.decoder", pixels);
    const Tensor bytes = arena_.allocate(DType::u8, pixels.shape());
    ops_.to_rgb8({.x = pixels, .y = bytes});
    Image image = blank();
    ops_.runtime().copy(image.rgb.data(), bytes.raw(), image.rgb.size(), CopyKind::device_to_host);
    ops_.runtime().synchronize();
    return image;
  }

  // Tiles of at most `largest` latents a side. Their pixels are blended on the host.
  Image tiled(int64_t largest) {
    const auto rows = tiles_of(latents_.size(1), largest, kOverlap), columns = tiles_of(latents_.size(2), largest, kOverlap);
    std::vector<float> sum(static_cast<size_t>(height_ * width_ * kChannels)), weight(static_cast<size_t>(height_ * width_));
    for (const Tile& row : rows) {
      for (const Tile& column : columns) add(row, column, sum, weight);
    }
    Image image = blank();
    parallel_for(height_, [&](int64_t y) {
      for (int64_t i = y * width_ * kChannels; i < (y + 1) * width_ * kChannels; ++i) {
        const float value = sum[static_cast<size_t>(i)] / weight[static_cast<size_t>(i / kChannels)];
        image.rgb[static_cast<size_t>(i)] =
            static_cast<uint8_t>(std::nearbyint(255.0f * std::clamp(value * 0.5f + 0.5f, 0.0f, 1.0f)));
      }
    });
    return image;
  }

 private:
  Image blank() const {
    return {static_cast<int>(width_), static_cast<int>(height_),
            std::vector<uint8_t>(static_cast<size_t>(width_ * height_ * kChannels))};
  }

  Tensor decode(const Tensor& latents, Taps* taps) {
    const Tensor pixels =
        arena_.allocate(dtype_, {1, latents.size(1) * factor_, latents.size(2) * factor_, kChannels});
    vae_.forward(ops_, latents, pixels, taps);
    check_finite(all_finite(ops_, pixels));
    return pixels;
  }

  void add(const Tile& row, const Tile& column, std::vector<float>& sum, std::vector<float>& weight) {
    const Tensor part = latents_.slice(1, row.begin, row.begin + row.size)
                            .slice(2, column.begin, column.begin + column.size);  // (1, h, w, C)
    Decoding tile(*this, part.shape());
    ops_.copy({.x = part, .y = tile.latents_});
    const std::vector<float> pixels = download(ops_, tile.decode(tile.latents_, nullptr));
    const Tile y{row.begin * factor_, row.size * factor_}, x{column.begin * factor_, column.size * factor_};
    const int64_t overlap = kOverlap * factor_;
    parallel_for(y.size, [&](int64_t i) {
      const float of_row = tile_weight(y, i, height_, overlap);
      for (int64_t j = 0; j < x.size; ++j) {
        const float w = of_row * tile_weight(x, j, width_, overlap);
        const auto pixel = static_cast<size_t>((y.begin + i) * width_ + x.begin + j);
        weight[pixel] += w;
        for (int c = 0; c < kChannels; ++c) sum[pixel * kChannels + c] += w * pixels[static_cast<size_t>((i * x.size + j) * kChannels + c)];
      }
    });
  }

  // A part of a picture, with memory of its own.
  Decoding(const Decoding& of, const Shape& latents)
      : ops_(of.ops_), vae_(of.vae_), factor_(of.factor_), width_(0), height_(0), dtype_(of.dtype_),
        arena_(of.ops_.runtime()), latents_(arena_.allocate(dtype_, latents)) {}

  Ops& ops_;
  const VaeDecoder& vae_;
  int64_t factor_, width_, height_;
  DType dtype_;
  Arena arena_;
  Tensor latents_;  // (1, h, w, C)
};

}  // namespace

size_t decode_bytes(DType dtype) { return dtype == DType::f32 ? SIZE_MAX : size_t{1800} << 20; }

Image decode_picture(Ops& ops, const Model& model, const HostTensor& latents, int64_t width, int64_t height, Taps* taps,
                     size_t most_bytes) {
  Decoding decoding(ops, model, latents, width, height);
  const int64_t factor = model.configs.vae.factor();
  const DType dtype = model.vae_params.activations();
  if (model.decoder.bytes(height / factor, width / factor, dtype) <= most_bytes) {
    return decoding.whole(taps);
  }
  int64_t largest = std::min(height, width) / factor;
  while (largest > 2 * kOverlap && model.decoder.bytes(largest, largest, dtype) > most_bytes) --largest;
  return decoding.tiled(largest);
}

}  // namespace fx
