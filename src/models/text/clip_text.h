// The CLIP text encoder: FLUX uses its pooled output only, the final hidden state at the end-of-text position.
// Source: openai/CLIP; names as transformers' CLIPTextModel writes them.
#pragma once

#include <vector>

#include "nn/layers.h"
#include "nn/taps.h"

namespace fx {

struct ClipConfig {
  int64_t vocab = 49408;
  int64_t hidden = 768;
  int64_t mlp_hidden = 3072;
  int64_t layers = 12;
  int64_t heads = 12;
  int64_t max_positions = 77;
  Activation activation = Activation::quick_gelu;
  float eps = 1e-5f;
  int64_t eos_token = 49407;
};

class ClipText {
 public:
  ClipText(ParamStore& store, const ClipConfig& config);

  // ids (L), L <= max_positions -> pooled (1, 1, hidden). Allocates its activations for the call.
  void forward(Ops& ops, const std::vector<int32_t>& ids, const Tensor& pooled, Taps* taps = nullptr) const;

  // Where the pooled output is taken: the first eos token; for configs from before transformers 4.24, which say eos 2
  // whatever the vocabulary, the position of the largest id.
  int64_t pooled_position(const std::vector<int32_t>& ids) const;

  const ClipConfig& config() const { return config_; }

 private:
  struct Layer {
    Layer(const ParamScope& scope, const ClipConfig& config);
    LayerNorm norm1, norm2;
    Linear q, k, v, out, fc1, fc2;
  };

  ClipConfig config_;
  DType activations_;
  Tensor token_embedding_;     // (vocab, hidden)
  Tensor position_embedding_;  // (max_positions, hidden)
  std::vector<Layer> layers_;
  LayerNorm final_norm_;
};

}  // namespace fx
