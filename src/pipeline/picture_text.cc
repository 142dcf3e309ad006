#include "pipeline/picture_text.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "lora/tags.h"

namespace fx {

namespace {

// As stable-diffusion-webui quotes a value, so that it can read it back.
std::string webui_value(const std::string& value) {
  if (value.find_first_of(",\n:") == std::string::npos) return value;
  return nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Its separators may not occur in the names of adapters.
std::string without_separators(std::string name) {
  std::erase_if(name, [](char c) { return c == ':' || c == ','; });
  return name;
}

}  // namespace

std::string picture_parameters(const Request& request, const ModelConfigs& configs, const std::string& model_hash,
                               const std::vector<AdapterUse>& adapters) {
  std::string text = request.prompt, hashes, settings;
  for (const AdapterUse& adapter : adapters) {
    text += " " + to_string(LoraTag{adapter.name, adapter.settings.scale, adapter.settings.text_encoder_scale});
    hashes += fmt::format("{}{}: {}", hashes.empty() ? "" : ", ", without_separators(adapter.name), adapter.hash);
    std::string more = place_and_time(adapter.settings) + (adapter.settings.merge    ? " merged"
                                                         : adapter.settings.beside ? " beside"
                                                                                   : "");
    if (!more.empty()) settings += (settings.empty() ? "" : ", ") + without_separators(adapter.name) + more;
  }
  text += fmt::format("\nSteps: {}, Sampler: Euler, Schedule type: Simple, CFG scale: 1", request.steps);
  if (configs.flux.guidance_embed) text += fmt::format(", Distilled CFG Scale: {}", request.guidance);
  text += fmt::format(", Seed: {}, Size: {}x{}", request.seed, request.width, request.height);
  if (!model_hash.empty()) text += fmt::format(", Model hash: {}", model_hash);
  text += fmt::format(", Model: {}", webui_value(configs.name));
  if (!hashes.empty()) text += ", Lora hashes: " + webui_value(hashes);
  if (!settings.empty()) text += ", Lora settings: " + webui_value(settings);  // beyond webui's notation
  return text + fmt::format(", Noise: {}, Version: fluxswap", request.noise == NoiseType::f32 ? "f32" : "bf16");
}

}  // namespace fx
