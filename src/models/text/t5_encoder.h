// The T5 v1.1 encoder, whose last hidden state conditions every block. Needs f32 or bf16: it overflows in f16.
// Source: google-research/text-to-text-transfer-transformer; names as transformers' T5EncoderModel writes them.
#pragma once

#include <vector>

#include "core/arena.h"
#include "nn/layers.h"
#include "nn/taps.h"

namespace fx {

struct T5Config {
  int64_t vocab = 32128;
  int64_t hidden = 4096;       // d_model
  int64_t head_dim = 64;       // d_kv
  int64_t mlp_hidden = 10240;  // d_ff
  int64_t layers = 24;
  int64_t heads = 64;
  int64_t buckets = 32;        // of relative positions
  int64_t max_distance = 128;
  Activation activation = Activation::gelu_tanh;
  float eps = 1e-6f;
};

// The bucket of the relative position key - query, for the bidirectional encoder: half of the buckets for each
// direction, exact up to a quarter, logarithmic to max_distance beyond.
int32_t t5_relative_bucket(int64_t relative_position, int64_t buckets, int64_t max_distance);

class T5Encoder {
 public:
  T5Encoder(ParamStore& store, const T5Config& config);

  // ids (L) -> y (1, L, hidden). All positions are attended, padding too, as FLUX does it. Allocates its activations for
  // the call.
  void forward(Ops& ops, const std::vector<int32_t>& ids, const Tensor& y, Taps* taps = nullptr) const;

  const T5Config& config() const { return config_; }

 private:
  struct Block {
    Block(const ParamScope& scope, const T5Config& config);
    RmsNorm attn_norm, mlp_norm;
    Linear q, k, v, o, wi_0, wi_1, wo;
  };

  // (N, L, L) from the bucket table, dense.
  Tensor relative_bias(Ops& ops, Arena& arena, int64_t tokens) const;

  T5Config config_;
  DType activations_;
  Tensor embedding_;   // (vocab, hidden)
  Tensor bias_table_;  // (buckets, heads), shared by all blocks
  std::vector<Block> blocks_;
  RmsNorm final_norm_;
};

}  // namespace fx
