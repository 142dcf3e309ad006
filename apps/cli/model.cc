// fluxswap model inspect.
#include "pipeline/model.h"
#include <nlohmann/json.hpp>
#include "commands.h"
#include "console.h"
#include "io/json_file.h"
#include "io/safetensors.h"
#include "pipeline/request.h"
#include "skeleton.h"

namespace fx::cli {
namespace {

using nlohmann::json;

struct ComponentFiles {
  std::string folder;
  int64_t parameters = 0;                 // that we use
  std::map<std::string, uint64_t> bytes;  // dtype -> bytes in files
};

ComponentFiles inspect_component(const Path& model, const std::string& folder, const std::string& base,
                                 const ParamStore& params) {
  ComponentFiles component{.folder = folder, .parameters = params.parameter_count()};
  const auto source = open_sharded(model / folder, base);
  for (const TensorInfo& info : source->tensors()) {
    component.bytes[std::string(name(info.dtype))] += info.end - info.begin;
  }
  return component;
}

std::vector<ComponentFiles> inspect_files(const Path& model, const Skeleton& skeleton) {
  return {inspect_component(model, "transformer", "diffusion_pytorch_model", skeleton.transformer),
          inspect_component(model, "text_encoder", "model", skeleton.text_encoder),
          inspect_component(model, "text_encoder_2", "model", skeleton.text_encoder_2),
          inspect_component(model, "vae", "diffusion_pytorch_model", skeleton.vae)};
}

int64_t parameter_count(const std::vector<ComponentFiles>& components) {
  int64_t count = 0;
  for (const ComponentFiles& component : components) count += component.parameters;
  return count;
}

json to_json(const Path& folder, const ModelConfigs& configs, const std::vector<ComponentFiles>& components) {
  json parts = json::object();
  for (const ComponentFiles& component : components) {
    parts[component.folder] = {{"parameters", component.parameters},
                               {"file_bytes", component.bytes},
                               {"config", read_json_file(folder / component.folder / "config.json")}};
  }
  const Request defaults = completed({}, configs);
  return {{"folder", folder.string()},
          {"name", configs.name},
          {"components", parts},
          {"scheduler", read_json_file(folder / "scheduler" / "scheduler_config.json")},
          {"parameters", parameter_count(components)},
          {"f32_bytes", 4 * parameter_count(components)},
          {"hash", model_hash(folder)},
          {"size_multiple", configs.size_multiple()},
          {"defaults",
           {{"width", defaults.width},
            {"height", defaults.height},
            {"steps", defaults.steps},
            {"guidance", defaults.guidance},
            {"max_sequence_length", defaults.max_sequence_length}}}};
}

// 11901408320 -> "11.9 G", to be followed by the unit
std::string rounded(double value) {
  constexpr const char* kUnits[] = {" ", " k", " M", " G", " T"};
  size_t unit = 0;
  for (; value >= 1000 && unit + 1 < std::size(kUnits); ++unit) value /= 1000;
  return fmt::format("{:.3g}{}", value, kUnits[unit]);
}

void print_table(const ModelConfigs& configs, const std::vector<ComponentFiles>& components) {
  const auto& [flux, clip, t5, vae, scheduler, name] = configs;
  const Request defaults = completed({}, configs);
  write_out("{}\n", one_line(name));
  write_out("transformer     {} double and {} single blocks, hidden {}, {} heads of {}, rope axes ({}), {}\n",
            flux.double_blocks, flux.single_blocks, flux.hidden(), flux.heads, flux.head_dim,
            fmt::join(flux.axes_dim, ", "),
            flux.guidance_embed ? "with guidance embedding" : "without guidance embedding");
  write_out("text_encoder    CLIP, {} layers, hidden {}, {} tokens\n", clip.layers, clip.hidden, clip.max_positions);
  write_out("text_encoder_2  T5, {} layers, hidden {}\n", t5.layers, t5.hidden);
  write_out("vae             {} latent channels, {} pixels per latent, levels ({})\n", vae.latent_channels,
            vae.factor(), fmt::join(vae.block_channels, ", "));
  write_out("scheduler       {}\n", scheduler.use_dynamic_shifting
                                        ? fmt::format("shift from {} to {} with the size of the picture",
                                                      scheduler.base_shift, scheduler.max_shift)
                                        : fmt::format("shift {}", scheduler.shift));
  write_out("defaults        {}x{} pixels, {} steps; sizes are multiples of {}\n", defaults.width, defaults.height,
            defaults.steps, configs.size_multiple());
  for (const ComponentFiles& component : components) {
    std::string files;
    for (const auto& [dtype, bytes] : component.bytes) {
      files += fmt::format(", {}B of {}", rounded(static_cast<double>(bytes)), dtype);
    }
    write_out("{:<15} {} parameters{}\n", component.folder, component.parameters, files);
  }
  write_out("memory          {}B for the weights in f32\n",
            rounded(4.0 * static_cast<double>(parameter_count(components))));
}

}  // namespace

void run_model_inspect(const ModelInspectOptions& o) {
  const Skeleton skeleton(o.model);
  const std::vector<ComponentFiles> components = inspect_files(o.model, skeleton);
  if (o.json) print_json(to_json(o.model, skeleton.configs, components));
  else print_table(skeleton.configs, components);
}

}  // namespace fx::cli
