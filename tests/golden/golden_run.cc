#include "golden/golden_run.h"

#include <algorithm>
#include <sstream>

namespace fx::test {

namespace {
// Random models lie with their golden files, trained ones in models/.
bool lies_with_golden(const std::string& model) { return std::filesystem::exists(golden_folder() / model / "model"); }

std::filesystem::path adapter_root(const std::string& model) {
  if (lies_with_golden(model)) return golden_folder() / model;
  return source_folder() / "models" / model;
}
}  // namespace

std::filesystem::path model_folder(const std::string& model) {
  return lies_with_golden(model) ? golden_folder() / model / "model" : adapter_root(model);
}

ModelOptions options_of(const std::string& way) {
  ModelOptions options;
  if (way_has(way, "bf16")) options.precision = Precision::bf16;
  if (way_has(way, "fp8")) options.precision = Precision::fp8;
  options.masters = way_has(way, "merged");
  options.weight_sets = options.masters && !way_has(way, "one-set") ? 2 : 1;
  if (way_has(way, "folded")) options.lora_ranks = 128;
  options.e4m3_attention = options.precision == Precision::fp8;  // as plan_model has it
  options.e4m3_modulation = !options.masters && options.lora_ranks == 0;  // so that each type is met without masters
  return options;
}

std::unique_ptr<Engine> new_engine(const std::string& model, const std::string& way) {
  return std::make_unique<Engine>(ops_named(way), model_folder(model), options_of(way));
}

Engine& engine_for(const std::string& model, const std::string& way) {
  static std::map<std::string, std::unique_ptr<Engine>> engines;
  auto& engine = engines[model + "/" + way];
  if (!engine) engine = new_engine(model, way);
  return *engine;
}

Request request_of(const Golden& golden) {
  Request request;
  request.prompt = golden.text("prompt");
  request.width = golden.number("width");
  request.height = golden.number("height");
  request.steps = static_cast<int>(golden.number("steps"));
  request.guidance = std::stod(golden.text("guidance"));
  request.seed = static_cast<uint64_t>(golden.number("seed"));
  request.max_sequence_length = static_cast<int>(golden.number("max_sequence_length"));
  return request;
}

std::vector<AdapterChoice> adapters_of(const Golden& golden, const std::string& model) {
  std::vector<AdapterChoice> choices;
  std::stringstream list(golden.text("adapters"));
  for (std::string item; std::getline(list, item, ';');) {
    const size_t colon = item.rfind(':');
    choices.push_back({adapter_root(model) / item.substr(0, colon), std::stof(item.substr(colon + 1))});
  }
  return choices;
}

std::vector<std::pair<std::string, std::string>> golden_cases(bool with_adapters) {
  std::vector<std::pair<std::string, std::string>> cases;
  for (const auto& model : std::filesystem::directory_iterator(golden_folder())) {
    // Other data lie there too.
    if (!std::filesystem::exists(model_folder(model.path().filename().string()) / "model_index.json")) continue;
    for (const auto& file : std::filesystem::directory_iterator(model.path())) {
      if (file.path().extension() != ".safetensors") continue;
      if (Golden(file.path()).text("adapters").empty() == with_adapters) continue;
      cases.emplace_back(model.path().filename().string(), file.path().stem().string());
    }
  }
  std::ranges::sort(cases);
  return cases;
}

}  // namespace fx::test
