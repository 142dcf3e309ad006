#include "models/vae/decoder.h"

#include <algorithm>

namespace fx {

VaeDecoder::VaeDecoder(ParamStore& store, const VaeConfig& config)
    : config_(config),
      conv_in_(ParamScope(store, "decoder.conv_in"), config.latent_channels, config.block_channels.back(), 3),
      mid_block_(ParamScope(store, "decoder.mid_block"), config),
      norm_out_(ParamScope(store, "decoder.conv_norm_out"), config.norm_groups, config.block_channels.front(),
                kVaeNormEps),
      conv_out_(ParamScope(store, "decoder.conv_out"), config.block_channels.front(), config.image_channels, 3) {
  if (config.post_quant_conv) {
    post_quant_conv_.emplace(ParamScope(store, "post_quant_conv"), config.latent_channels, config.latent_channels, 1);
  }
  const auto levels = static_cast<int64_t>(config.block_channels.size());
  int64_t channels = config.block_channels.back();
  for (int64_t i = 0; i < levels; ++i) {
    const ParamScope scope = ParamScope(store, "decoder.up_blocks") / i;
    const int64_t out = config.block_channels[levels - 1 - i];
    UpBlock block;
    for (int64_t j = 0; j < config.layers_per_block + 1; ++j) {
      block.resnets.emplace_back(scope / "resnets" / j, channels, out, config.norm_groups);
      channels = out;
    }
    if (i + 1 < levels) block.upsampler.emplace(scope / "upsamplers.0.conv", out, out, 3);
    up_blocks_.push_back(std::move(block));
  }
}

int64_t VaeDecoder::capacity(int64_t h, int64_t w) const {
  int64_t largest = h * w * std::max(config_.latent_channels, config_.block_channels.back());
  int64_t before = config_.block_channels.back();
  for (size_t i = 0; i < up_blocks_.size(); ++i) {
    const int64_t channels = config_.block_channels[up_blocks_.size() - 1 - i];
    largest = std::max(largest, h * w * std::max(channels, before));
    if (up_blocks_[i].upsampler) {
      h *= 2, w *= 2;
      largest = std::max(largest, h * w * channels);
    }
    before = channels;
  }
  return largest;
}

size_t VaeDecoder::bytes(int64_t h, int64_t w, DType dtype) const {
  return VaeCanvas::kBuffers * static_cast<size_t>(capacity(h, w)) * size_of(dtype);
}

void VaeDecoder::unpack(Ops& ops, const Tensor& packed, const Tensor& latents) const {
  ops.unpack_latents(
      {.packed = packed, .latents = latents, .scaling = config_.scaling_factor, .shift = config_.shift_factor});
}

void VaeDecoder::forward(Ops& ops, const Tensor& given, const Tensor& image, Taps* taps) const {
  const int64_t B = image.size(0), h = image.size(1) / config_.factor(), w = image.size(2) / config_.factor();
  const auto tap = [&](const std::string& name, const Tensor& tensor) {
    if (taps) taps->record(ops, "vae.decoder." + name, tensor);
  };
  VaeCanvas canvas(ops.runtime(), image.dtype());
  Tensor latents = given;
  if (post_quant_conv_) {
    const Tensor projected = canvas.scratch_of(1, latents.shape());
    (*post_quant_conv_)(ops, latents, projected);
    latents = projected;
  }
  conv_in_(ops, latents, canvas.reset(B, h, w, config_.block_channels.back()));
  tap("conv_in", canvas.x());
  mid_block_.forward(ops, canvas);
  tap("mid_block", canvas.x());

  for (size_t i = 0; i < up_blocks_.size(); ++i) {
    for (const ResnetBlock& resnet : up_blocks_[i].resnets) resnet.forward(ops, canvas);
    if (up_blocks_[i].upsampler) {
      const Tensor larger = canvas.scratch(0, canvas.x().size(3), 2);    // (B, 2H, 2W, C)
      const Tensor convolved = canvas.scratch(1, canvas.x().size(3), 2);  // (B, 2H, 2W, C)
      ops.upsample2x({.x = canvas.x(), .y = larger});
      (*up_blocks_[i].upsampler)(ops, larger, convolved);
      canvas.adopt(1, convolved);
    }
    tap("up_blocks." + std::to_string(i), canvas.x());
  }
  norm_out_(ops, canvas.x(), canvas.x(), true);
  conv_out_(ops, canvas.x(), image);
  ops.runtime().synchronize();  // the canvas goes away
}

}  // namespace fx
