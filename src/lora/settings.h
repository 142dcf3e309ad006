// How an adapter is to act: how strongly, where, and at which steps.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weights/component.h"

namespace fx {

// A part of the denoising steps, as fractions of their number: step i of n, counted from 0, is in it when
// start <= i / n < end. Doubles, so that a limit that is written like the quotient equals it.
struct StepRange {
  double start = 0.0, end = 1.0;
  bool contains(int step, int steps) const;
  bool empty() const { return !(start < end); }
  bool whole() const { return start <= 0.0 && end >= 1.0; }
  bool operator==(const StepRange&) const = default;
};

// Modules whose name matches `pattern` act `factor` times as strongly. In a pattern, `*` stands for any characters and
// `?` for one. It is held against canonical names ("double_blocks.3.img_attn.qkv") and those of diffusers
// ("transformer_blocks.3.attn.to_q"), each with and without the component in front ("transformer.", "text_encoder.").
struct BlockWeight {
  std::string pattern;
  float factor = 1.0f;
  bool operator==(const BlockWeight&) const = default;
};

struct AdapterSettings {
  float scale = 1.0f;                       // negative and zero are allowed; at zero the adapter is off
  std::optional<float> text_encoder_scale;  // that of both text encoders; `scale` when absent
  // When the transformer's part acts. The text encoders' part acts unless the range is empty.
  StepRange steps;
  std::vector<BlockWeight> blocks;  // the first that matches counts; a module that none matches has factor 1
  // Low-rank parts are merged into the weights as well: no cost per step, but a change takes as long as computing
  // the weights. Of an adapter with a step range, those of the transformer stay beside the weights all the same. Of a model
  // that keeps masters nothing changes: the device merges whatever may be merged into the layers that have one, and no other
  // layer costs much in a step.
  bool merge = false;
  // The transformer's low-rank parts of the whole set stay beside the weights, as with a step range, even where the weights
  // could carry them: layers add them as they run.
  bool beside = false;

  float scale_for(Component component) const;
  bool operator==(const AdapterSettings&) const = default;
};

// Throws invalid_argument for a scale or factor that is not finite, a range outside of 0 to 1 or with its end before its
// start, an empty pattern, or `merge` and `beside` at once. `adapter` opens the message.
void validate(const AdapterSettings& settings, std::string_view adapter);

// Where and when, as the command line writes it behind the scales: "@0-0.6~double_blocks.*=0.5". Empty for an adapter
// that acts everywhere and always.
std::string place_and_time(const AdapterSettings& settings);

// Whether the whole text is what the pattern (see BlockWeight) describes.
bool matches_glob(std::string_view pattern, std::string_view text);

}  // namespace fx
