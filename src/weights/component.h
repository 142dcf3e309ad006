// The parts of the pipeline that adapters may touch.
#pragma once

#include <string_view>

namespace fx {

enum class Component { transformer, text_encoder, text_encoder_2 };

// "transformer", "text_encoder", "text_encoder_2": also the prefixes of the diffusers file format.
constexpr std::string_view name(Component component) {
  switch (component) {
    case Component::transformer: return "transformer";
    case Component::text_encoder: return "text_encoder";
    case Component::text_encoder_2: return "text_encoder_2";
  }
  return "?";
}

}  // namespace fx
