#include "lora/format.h"

#include <array>

namespace fx {

std::span<const AdapterFormat> adapter_formats() {
  static constexpr std::array kFormats = {
      AdapterFormat{"PEFT/diffusers", parse_peft_key},
  };
  return kFormats;
}

}  // namespace fx
