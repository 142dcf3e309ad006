#include "pipeline/picture_text.h"

#include <fmt/format.h>

namespace fx {

std::string picture_parameters(const Request& request, const ModelConfigs& configs, const std::string& model_hash,
                               const std::vector<AdapterUse>& adapters) {
  std::string text = request.prompt, hashes;
  for (const AdapterUse& adapter : adapters) {
    text += fmt::format(" <lora:{}:{}>", adapter.name, adapter.scale);
    hashes += fmt::format("{}{}: {}", hashes.empty() ? "" : ", ", adapter.name, adapter.hash);
  }
  text += fmt::format("\nSteps: {}, Sampler: Euler, Schedule type: Simple, CFG scale: 1", request.steps);
  if (configs.flux.guidance_embed) text += fmt::format(", Distilled CFG Scale: {}", request.guidance);
  text += fmt::format(", Seed: {}, Size: {}x{}", request.seed, request.width, request.height);
  if (!model_hash.empty()) text += fmt::format(", Model hash: {}", model_hash);
  text += fmt::format(", Model: {}", configs.name);
  if (!hashes.empty()) text += fmt::format(", Lora hashes: \"{}\"", hashes);
  return text + fmt::format(", Noise: {}, Version: fluxswap", request.noise == NoiseType::f32 ? "f32" : "bf16");
}

}  // namespace fx
