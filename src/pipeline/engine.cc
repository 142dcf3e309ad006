#include "pipeline/engine.h"

#include <fmt/format.h>

#include "lora/messages.h"
#include "pipeline/stop_watch.h"

namespace fx {
namespace {

std::unique_ptr<Model> timed_load(Ops& ops, const std::filesystem::path& folder, double& seconds) {
  StopWatch watch;
  auto model = std::make_unique<Model>(ops.runtime(), folder);
  seconds = watch.lap();
  return model;
}

AdapterTarget target_of(Model& model) {
  AdapterTarget target;
  target.add(Component::transformer, model.transformer_names, model.transformer_params);
  target.add(Component::text_encoder, model.clip_names, model.clip_params);
  target.add(Component::text_encoder_2, model.t5_names, model.t5_params);
  return target;
}

std::vector<std::string> warnings_of(const Adapter& adapter) {
  std::vector<std::string> warnings;
  for (const std::string& warning : adapter.report.warnings) warnings.push_back(adapter.name + ": " + warning);
  if (adapter.report.unmatched.empty()) return warnings;
  warnings.push_back(fmt::format("{}: {} {} nothing in this model: {}", adapter.name,
                                 adapter.report.unmatched.size(),
                                 adapter.report.unmatched.size() == 1 ? "key matches" : "keys match", listed(adapter.report.unmatched)));
  return warnings;
}

}  // namespace

Engine::Engine(std::unique_ptr<Ops> ops, const std::filesystem::path& model_folder)
    : ops_(std::move(ops)),
      model_(timed_load(*ops_, model_folder, load_seconds_)),
      target_(target_of(*model_)),
      library_(target_),
      slots_(target_),
      hot_swap_(slots_),
      pipeline_(*ops_, *model_) {}

AdapterSet Engine::read(const std::vector<AdapterChoice>& choices, std::vector<std::string>* warnings) {
  AdapterSet set;
  for (const AdapterChoice& choice : choices) {
    auto adapter = library_.get(choice.file);
    if (warnings) {
      for (std::string& warning : warnings_of(*adapter)) warnings->push_back(std::move(warning));
    }
    set.push_back({std::move(adapter), choice.scale, std::nullopt});
  }
  return set;
}

AdapterChange Engine::use_adapters(const std::vector<AdapterChoice>& adapters) {
  AdapterChange change;
  StopWatch watch;
  const AdapterSet set = read(adapters, &change.warnings);
  change.read_seconds = watch.lap();
  change.swap = hot_swap_.apply(set);
  return change;
}

void Engine::prepare_adapters(const std::vector<std::vector<AdapterChoice>>& sets) {
  std::vector<AdapterSet> read_sets;
  for (const auto& choices : sets) read_sets.push_back(read(choices, nullptr));
  hot_swap_.reserve(read_sets);
}

std::vector<AdapterUse> Engine::adapter_uses() const {
  std::vector<AdapterUse> uses;
  for (const AppliedAdapter& applied : hot_swap_.active()) {
    uses.push_back({applied.adapter->name, applied.scale, applied.adapter->hash.autov2()});
  }
  return uses;
}

}  // namespace fx
