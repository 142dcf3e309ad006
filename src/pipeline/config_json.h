// The config files of a diffusers folder as the structs of the models. Fields that are absent take the defaults of
// diffusers and transformers; values that we cannot run are refused by name.
#pragma once

#include <filesystem>
#include <string>

#include "models/flux/config.h"
#include "models/text/clip_text.h"
#include "models/text/t5_encoder.h"
#include "models/vae/config.h"
#include "sampling/flow_match_euler.h"

namespace fx {

struct ModelConfigs {
  FluxConfig flux;
  ClipConfig clip;
  T5Config t5;
  VaeConfig vae;
  SchedulerConfig scheduler;
  std::string name;  // of the folder, for people

  // Pixels per packed token: width and height are multiples of it.
  int64_t size_multiple() const { return 2 * vae.factor(); }
  int default_steps() const { return flux.guidance_embed ? 28 : 4; }
};

// Reads every config below `folder` (model_index.json, scheduler/, transformer/, text_encoder/, text_encoder_2/, vae/).
// Throws bad_file or unsupported, with the file and the field; also when the parts do not fit each other.
ModelConfigs read_model_configs(const std::filesystem::path& folder);

FluxConfig read_flux_config(const std::filesystem::path& file);
ClipConfig read_clip_config(const std::filesystem::path& file);
T5Config read_t5_config(const std::filesystem::path& file);
VaeConfig read_vae_config(const std::filesystem::path& file);
SchedulerConfig read_scheduler_config(const std::filesystem::path& file);

}  // namespace fx
