#include "models/vae/blocks.h"

#include <cmath>

#include "core/arena.h"

namespace fx {

Tensor VaeCanvas::view(int buffer, const Shape& shape) {
  Buffer& memory = buffers_[buffer];
  if (!memory.tensor().defined() || memory.tensor().count() < shape.count()) {
    memory = Buffer();  // before there are two
    memory = Buffer(runtime_, dtype_, {shape.count()});
  }
  return memory.tensor().slice(0, 0, shape.count()).reshape(shape);
}

Tensor VaeCanvas::reset(int64_t batch, int64_t height, int64_t width, int64_t channels) {
  return x_ = view(current_, {batch, height, width, channels});
}

Tensor VaeCanvas::scratch_of(int index, const Shape& shape) { return view(buffer_of_scratch(index), shape); }

Tensor VaeCanvas::scratch(int index, int64_t channels, int64_t scale) {
  return scratch_of(index, {x_.size(0), x_.size(1) * scale, x_.size(2) * scale, channels});
}

void VaeCanvas::adopt(int index, const Tensor& image) {
  current_ = buffer_of_scratch(index);
  x_ = image;
}

ResnetBlock::ResnetBlock(const ParamScope& scope, int64_t in, int64_t out, int groups)
    : norm1_(scope / "norm1", groups, in, kVaeNormEps),
      norm2_(scope / "norm2", groups, out, kVaeNormEps),
      conv1_(scope / "conv1", in, out, 3),
      conv2_(scope / "conv2", out, out, 3),
      out_(out) {
  if (in != out) shortcut_.emplace(scope / "conv_shortcut", in, out, 1);
}

void ResnetBlock::forward(Ops& ops, VaeCanvas& canvas) const {
  const Tensor x = canvas.x();                    // (B, H, W, in)
  const Tensor hidden = canvas.scratch(0, out_);  // (B, H, W, out)
  if (!shortcut_) {
    const Tensor normed = canvas.scratch(1, x.size(3));  // (B, H, W, in)
    norm1_(ops, x, normed, true);
    conv1_(ops, normed, hidden);
    norm2_(ops, hidden, hidden, true);
    conv2_(ops, hidden, x, 1, true);
    return;
  }
  // First what x itself is needed for, so that its norm takes its place.
  const Tensor sum = canvas.scratch(1, out_);  // (B, H, W, out)
  (*shortcut_)(ops, x, sum);
  norm1_(ops, x, x, true);
  conv1_(ops, x, hidden);
  norm2_(ops, hidden, hidden, true);
  conv2_(ops, hidden, sum, 1, true);
  canvas.adopt(1, sum);
}

VaeAttention::VaeAttention(const ParamScope& scope, int64_t channels, int groups)
    : norm_(scope / "group_norm", groups, channels, kVaeNormEps),
      q_(scope / "to_q", channels, channels),
      k_(scope / "to_k", channels, channels),
      v_(scope / "to_v", channels, channels),
      out_(scope / "to_out.0", channels, channels) {}

void VaeAttention::forward(Ops& ops, VaeCanvas& canvas) const {
  const Tensor image = canvas.x();  // (B, H, W, C)
  const int64_t B = image.size(0), L = image.size(1) * image.size(2), C = image.size(3);
  const Tensor normed_image = canvas.scratch(0, C);
  norm_(ops, image, normed_image, false);

  Arena arena(ops.runtime());
  const Tensor x = image.reshape({B, L, C}), normed = normed_image.reshape({B, L, C});
  const Tensor q = arena.allocate(x.dtype(), {B, L, C}), k = arena.allocate(x.dtype(), {B, L, C});
  const Tensor v = canvas.scratch_of(1, {B, L, C});
  q_(ops, normed, q);
  k_(ops, normed, k);
  v_(ops, normed, v);
  const auto one_head = [&](const Tensor& t) { return t.reshape({B, L, 1, C}); };
  ops.attention({.q = one_head(q),
                 .k = one_head(k),
                 .v = one_head(v),
                 .o = one_head(normed),
                 .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(C)))});
  out_.add_to(ops, normed, x);
  ops.runtime().synchronize();  // the arena goes away
}

VaeMidBlock::VaeMidBlock(const ParamScope& scope, const VaeConfig& config)
    : first_(scope / "resnets.0", config.block_channels.back(), config.block_channels.back(), config.norm_groups),
      second_(scope / "resnets.1", config.block_channels.back(), config.block_channels.back(), config.norm_groups) {
  if (config.mid_attention) {
    attention_.emplace(scope / "attentions.0", config.block_channels.back(), config.norm_groups);
  }
}

void VaeMidBlock::forward(Ops& ops, VaeCanvas& canvas) const {
  first_.forward(ops, canvas);
  if (attention_) attention_->forward(ops, canvas);
  second_.forward(ops, canvas);
}

}  // namespace fx
