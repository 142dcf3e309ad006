// The "parameters" text of a PNG file, in the notation that stable-diffusion-webui users know.
#pragma once

#include <string>
#include <vector>

#include "lora/settings.h"
#include "pipeline/request.h"

namespace fx {

struct AdapterUse {
  std::string name;
  AdapterSettings settings;
  std::string hash;  // ten hexadecimal digits
};

// prompt <lora:name:0.8>
// Steps: 28, Sampler: Euler, Schedule type: Simple, CFG scale: 1, Distilled CFG Scale: 3.5, Seed: 7, Size: 1024x1024, ...
std::string picture_parameters(const Request& request, const ModelConfigs& configs, const std::string& model_hash,
                               const std::vector<AdapterUse>& adapters);

}  // namespace fx
