#include "models/vae/encoder.h"

namespace fx {

VaeEncoder::VaeEncoder(ParamStore& store, const VaeConfig& config)
    : config_(config),
      conv_in_(ParamScope(store, "encoder.conv_in"), config.image_channels, config.block_channels.front(), 3),
      mid_block_(ParamScope(store, "encoder.mid_block"), config),
      norm_out_(ParamScope(store, "encoder.conv_norm_out"), config.norm_groups, config.block_channels.back(),
                kVaeNormEps),
      conv_out_(ParamScope(store, "encoder.conv_out"), config.block_channels.back(), 2 * config.latent_channels, 3) {
  if (config.quant_conv) {
    quant_conv_.emplace(ParamScope(store, "quant_conv"), 2 * config.latent_channels, 2 * config.latent_channels, 1);
  }
  const size_t levels = config.block_channels.size();
  int64_t channels = config.block_channels.front();
  for (size_t i = 0; i < levels; ++i) {
    const ParamScope scope = ParamScope(store, "encoder.down_blocks") / static_cast<int64_t>(i);
    const int64_t out = config.block_channels[i];
    DownBlock block;
    for (int64_t j = 0; j < config.layers_per_block; ++j) {
      block.resnets.emplace_back(scope / "resnets" / j, channels, out, config.norm_groups);
      channels = out;
    }
    if (i + 1 < levels) block.downsampler.emplace(scope / "downsamplers.0.conv", out, out, 3);
    down_blocks_.push_back(std::move(block));
  }
}

void VaeEncoder::forward(Ops& ops, const Tensor& image, const Tensor& mean) const {
  const int64_t B = image.size(0), H = image.size(1), W = image.size(2);
  VaeCanvas canvas(ops.runtime(), image.dtype());
  conv_in_(ops, image, canvas.reset(B, H, W, config_.block_channels.front()));
  for (const DownBlock& block : down_blocks_) {
    for (const ResnetBlock& resnet : block.resnets) resnet.forward(ops, canvas);
    if (!block.downsampler) continue;
    const Tensor& x = canvas.x();
    const Tensor smaller = canvas.scratch_of(0, {B, x.size(1) / 2, x.size(2) / 2, x.size(3)});
    (*block.downsampler)(ops, x, smaller, 2);
    canvas.adopt(0, smaller);
  }
  mid_block_.forward(ops, canvas);

  const Tensor normed = canvas.scratch(0, canvas.x().size(3));
  norm_out_(ops, canvas.x(), normed, true);
  Tensor moments = canvas.scratch(1, 2 * config_.latent_channels);
  conv_out_(ops, normed, moments);
  if (quant_conv_) {
    const Tensor projected = canvas.scratch(0, 2 * config_.latent_channels);
    (*quant_conv_)(ops, moments, projected);
    moments = projected;
  }
  ops.copy({.x = moments.slice(3, 0, config_.latent_channels), .y = mean});
  ops.runtime().synchronize();  // the canvas goes away
}

}  // namespace fx
