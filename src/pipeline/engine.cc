#include "pipeline/engine.h"

#include <fmt/format.h>

#include <algorithm>

#include "lora/messages.h"
#include "pipeline/stop_watch.h"

namespace fx {
namespace {

AdapterTarget target_of(Model& model) {
  AdapterTarget target;
  const BaseReader read_base = [&model](const Param& param, const RowRange& rows) {
    return model.transformer_file->rows(param.name, rows);
  };
  target.add(Component::transformer, model.transformer_names, model.transformer_params,
             model.transformer_file ? read_base : nullptr);
  target.add(Component::text_encoder, model.clip_names, model.clip_params);
  target.add(Component::text_encoder_2, model.t5_names, model.t5_params);
  return target;
}

std::vector<std::string> warnings_of(const Adapter& adapter) {
  std::vector<std::string> warnings;
  for (const std::string& warning : adapter.report.warnings) warnings.push_back(adapter.name + ": " + warning);
  if (adapter.report.unmatched.empty()) return warnings;
  warnings.push_back(fmt::format("{}: {} {} nothing in this model: {}", adapter.name, adapter.report.unmatched.size(),
                                 adapter.report.unmatched.size() == 1 ? "key matches" : "keys match",
                                 listed(adapter.report.unmatched)));
  return warnings;
}

}  // namespace

Engine::Engine(std::unique_ptr<Ops> ops, std::unique_ptr<Model> model)
    : ops_(std::move(ops)),
      model_(std::move(model)),
      target_(target_of(*model_)),
      library_(target_),
      slots_(target_),
      hot_swap_(*ops_, slots_),
      pipeline_(*ops_, *model_) {
  pipeline_.denoiser().record_for_all([this](const auto& work) { hot_swap_.with_other_arrangements(work); });
}

Engine::Engine(std::unique_ptr<Ops> ops, const std::filesystem::path& model_folder, const ModelOptions& options)
    : Engine(timed_load(std::move(ops), model_folder, options)) {}

Engine::Engine(Loaded&& loaded) : Engine(std::move(loaded.ops), std::move(loaded.model)) {
  load_seconds_ = loaded.seconds;
}

Engine::Loaded Engine::timed_load(std::unique_ptr<Ops> ops, const std::filesystem::path& folder,
                                  const ModelOptions& options) {
  StopWatch watch;
  auto model = std::make_unique<Model>(*ops, folder, options);
  return {std::move(ops), std::move(model), watch.lap()};
}

void Engine::reserve_rank(int64_t rank) { hot_swap_.reserve_rank(Component::transformer, rank); }

std::vector<AdapterUse> uses_of(const AdapterSet& adapters) {
  std::vector<AdapterUse> uses;
  for (const AppliedAdapter& applied : adapters) {
    uses.push_back({applied.adapter->name, applied.settings, applied.adapter->hash.autov2()});
  }
  return uses;
}

AdapterSet Engine::read(const std::vector<AdapterChoice>& choices, AdapterChange* change) {
  AdapterSet set;
  StopWatch watch;
  for (const AdapterChoice& choice : choices) {
    auto adapter = library_.get(choice.file);
    if (change) {
      for (std::string& warning : warnings_of(*adapter)) change->warnings.push_back(std::move(warning));
    }
    set.push_back({std::move(adapter), choice.settings});
  }
  if (change) change->read_seconds = watch.lap();
  return set;
}

Engine::Staged Engine::stage(const std::vector<AdapterChoice>& choices, std::optional<int> steps) {
  Staged staged;
  const AdapterSet set = read(choices, &staged.change);
  StopWatch watch;
  staged.adapters = hot_swap_.stage(set, steps);
  staged.change.stage_seconds = watch.lap();
  return staged;
}

bool Engine::Next::is(const std::vector<AdapterChoice>& wanted, std::optional<int> wanted_steps) const {
  const auto whole = [](const AdapterChoice& choice) { return choice.settings.steps.whole(); };
  return choices == wanted && (steps == wanted_steps || std::ranges::all_of(choices, whole));
}

void Engine::prepare_next(const std::vector<AdapterChoice>& adapters, std::optional<int> steps) {
  const std::lock_guard lock(next_mutex_);
  next_.reset();  // what it has staged would stand in the way
  next_ = Next{adapters, steps, std::async(std::launch::async, [=, this] { return stage(adapters, steps); })};
}

// What was prepared, or what is staged now. Either way nothing is prepared afterwards.
Engine::Staged Engine::staged(const std::vector<AdapterChoice>& choices, std::optional<int> steps) {
  std::optional<Next> next;
  {
    const std::lock_guard lock(next_mutex_);
    next.swap(next_);
  }
  if (next && next->is(choices, steps)) return next->staged.get();
  next.reset();
  return stage(choices, steps);
}

AdapterChange Engine::use_adapters(const std::vector<AdapterChoice>& adapters) {
  Staged ready = staged(adapters, std::nullopt);
  const std::lock_guard lock(mutex_);
  ready.change.swap = hot_swap_.publish(std::move(ready.adapters));
  library_.note_swap(ready.change.swap.seconds);
  return std::move(ready.change);
}

Picture Engine::generate(const Request& request, const ProgressCallback& progress) {
  const std::lock_guard lock(mutex_);
  return generate_locked(request, progress);
}

Picture Engine::generate_with(const std::vector<AdapterChoice>& adapters, const Request& wanted,
                              const ProgressCallback& progress, AdapterChange* change) {
  const Request request = completed(wanted, model_->configs);  // before anything is read
  Staged ready = staged(adapters, request.steps);
  const std::lock_guard lock(mutex_);
  ready.change.swap = hot_swap_.publish(std::move(ready.adapters));
  library_.note_swap(ready.change.swap.seconds);
  if (change) *change = std::move(ready.change);
  return generate_locked(request, progress);
}

Picture Engine::generate_locked(const Request& wanted, const ProgressCallback& progress) {
  const Request request = completed(wanted, model_->configs);
  std::vector<Phase> phases;
  for (const int first_step : hot_swap_.phases(request.steps)) {
    phases.push_back({first_step, [=, this] { return hot_swap_.enter_step(first_step, request.steps).transformer; }});
  }
  hot_swap_.enter_step(0, request.steps);
  Picture picture = pipeline_.generate(request, progress, phases);
  picture.adapters = hot_swap_.active();
  return picture;
}

void Engine::prepare_adapters(const std::vector<std::vector<AdapterChoice>>& sets) {
  std::vector<AdapterSet> read_sets;
  for (const auto& choices : sets) read_sets.push_back(read(choices, nullptr));
  const std::lock_guard lock(mutex_);
  hot_swap_.reserve(read_sets);
}

}  // namespace fx
