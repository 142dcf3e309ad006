// A model without its weights: everything that configs alone decide. Parameters are declared but never touched, so that
// their memory stays virtual and even a 12B model is there at once.
#pragma once

#include <memory>

#include "models/flux/transformer.h"
#include "models/text/clip_text.h"
#include "models/text/t5_encoder.h"
#include "models/vae/decoder.h"
#include "options.h"
#include "pipeline/config_json.h"

namespace fx::cli {

class Skeleton {
 public:
  // Throws as read_model_configs does.
  explicit Skeleton(const Path& folder);

  const ModelConfigs configs;

 private:
  const std::unique_ptr<Runtime> runtime_;

 public:
  ParamStore transformer, text_encoder, text_encoder_2, vae;

 private:
  const Flux flux_;
  const ClipText clip_;
  const T5Encoder t5_;
  const VaeDecoder decoder_;
};

}  // namespace fx::cli
