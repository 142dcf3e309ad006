// `<lora:name:0.8>` in a prompt: the adapter as stable-diffusion-webui users name it.
//
//   <lora:NAME>               scale 1
//   <lora:NAME:SCALE>
//   <lora:NAME:TE:SCALE>      text encoders apart, and first, as there
//   <lora:NAME:te=TE:unet=SCALE>
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fx {

struct LoraTag {
  std::string name;
  float scale = 1.0f;
  std::optional<float> text_encoder_scale;  // `scale` when absent
  bool operator==(const LoraTag&) const = default;
};

struct TaggedPrompt {
  std::string text;  // without the tags, and without the blanks that would be doubled or left over at an end
  std::vector<LoraTag> tags;
};

// Takes the tags out of a prompt. Other text in angle brackets stays. Throws invalid_argument for a tag that is not
// closed, has no name, or has a scale that is no finite number; the message has the tag.
TaggedPrompt take_lora_tags(std::string_view prompt);

// The shortest spelling.
std::string to_string(const LoraTag& tag);

}  // namespace fx
