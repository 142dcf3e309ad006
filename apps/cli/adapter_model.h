// What adapters are read against where no picture is made: the layers of a model folder, and its weights on demand.
// Parameters are declared but never touched, so that their memory stays virtual and even a 12B model is there at once.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "lora/target.h"
#include "lora/write/base_weights.h"
#include "models/flux/transformer.h"
#include "models/text/clip_text.h"
#include "models/text/t5_encoder.h"
#include "options.h"

namespace fx::cli {

class AdapterModel {
 public:
  // A diffusers folder, or one with nothing but transformer/ (and text_encoder/, text_encoder_2/ as far as they are
  // there). Throws as the readers of its configs do.
  explicit AdapterModel(const Path& folder);

  const AdapterTarget& target() const { return target_; }
  const std::string& name() const { return name_; }

  // Opens the weight files of the components that have any.
  std::map<Component, BaseWeights> open_weights() const;

 private:
  void add_transformer(const FluxConfig& config);
  void add_clip(const ClipConfig& config);
  void add_t5(const T5Config& config);

  const Path folder_;
  std::string name_;
  const std::unique_ptr<Runtime> runtime_;
  ParamStore transformer_, text_encoder_, text_encoder_2_;
  std::optional<Flux> flux_;
  std::optional<ClipText> clip_;
  std::optional<T5Encoder> t5_;
  std::map<Component, NameMap> names_;
  AdapterTarget target_;
};

}  // namespace fx::cli
