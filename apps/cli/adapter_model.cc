#include "adapter_model.h"

#include "io/safetensors.h"
#include "pipeline/config_json.h"
#include "pipeline/model.h"

namespace fx::cli {
namespace {

namespace fs = std::filesystem;

bool is_there(const Path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

}  // namespace

AdapterModel::AdapterModel(const Path& folder)
    : folder_(folder),
      name_(fs::weakly_canonical(folder).filename().string()),
      runtime_(make_host_runtime()),  // no limit: this memory is never touched
      transformer_(*runtime_),
      text_encoder_(*runtime_),
      text_encoder_2_(*runtime_) {
  const auto config = [&](const char* component) { return folder / component / "config.json"; };
  if (is_there(folder / "model_index.json") || !is_there(config("transformer"))) {
    const ModelConfigs configs = read_model_configs(folder);
    add_transformer(configs.flux);
    add_clip(configs.clip);
    add_t5(configs.t5);
    return;
  }
  add_transformer(read_flux_config(config("transformer")));
  if (is_there(config("text_encoder"))) add_clip(read_clip_config(config("text_encoder")));
  if (is_there(config("text_encoder_2"))) add_t5(read_t5_config(config("text_encoder_2")));
}

void AdapterModel::add_transformer(const FluxConfig& config) {
  flux_.emplace(transformer_, config);
  names_.emplace(Component::transformer,
                 flux_name_map({config.double_blocks, config.single_blocks, config.hidden(), config.mlp_hidden()}));
  target_.add(Component::transformer, names_.at(Component::transformer), transformer_);
}

void AdapterModel::add_clip(const ClipConfig& config) {
  clip_.emplace(text_encoder_, config);
  names_.emplace(Component::text_encoder, clip_name_map(parameter_names(text_encoder_)));
  target_.add(Component::text_encoder, names_.at(Component::text_encoder), text_encoder_);
}

void AdapterModel::add_t5(const T5Config& config) {
  t5_.emplace(text_encoder_2_, config);
  names_.emplace(Component::text_encoder_2, t5_name_map(parameter_names(text_encoder_2_)));
  target_.add(Component::text_encoder_2, names_.at(Component::text_encoder_2), text_encoder_2_);
}

std::map<Component, BaseWeights> AdapterModel::open_weights() const {
  std::map<Component, BaseWeights> weights;
  for (const auto& [component, names] : names_) {
    const Path path = folder_ / fx::name(component);
    const std::string base = component == Component::transformer ? "diffusion_pytorch_model" : "model";
    const bool any = is_there(path / (base + ".safetensors")) || is_there(path / (base + ".safetensors.index.json"));
    if (any) weights.emplace(component, BaseWeights(open_sharded(path, base), names));
  }
  return weights;
}

}  // namespace fx::cli
