// What the commands that run a model share: the back-end, the engine, requests made from options.
#pragma once

#include <memory>
#include <string>

#include "options.h"
#include "pipeline/engine.h"
#include "progress_bar.h"

namespace fx::cli {

// Throws unsupported for a device that this build does not have, and device for one that is not there.
std::unique_ptr<Ops> make_ops(const EngineOptions& options);

// Loads the model in the precision and with the memory that fit the device, saying so on the bar. Throws what plan_model
// and Engine throw.
std::unique_ptr<Engine> open_engine(const EngineOptions& options, const AdapterOptions& adapters, ProgressBar& bar);

// Publishes adapters and warns about keys that match nothing, or throws because of them where the options are strict.
AdapterChange use_adapters(Engine& engine, const AdapterOptions& options, ProgressBar& bar);
void check_strict(Engine& engine, const AdapterOptions& options, const std::vector<AdapterChoice>& choices);

// Throws Error(invalid_argument) for a prompt that is not UTF-8.
void check_prompt(const std::string& prompt);

// The request with all defaults filled in, seed too. Throws UsageError for one that no model could carry out, so call it
// before weights are loaded; and Error for a prompt that is not UTF-8.
Request make_request(const PictureOptions& options, const std::string& prompt, const ModelConfigs& configs);

void warn_all(const std::vector<std::string>& warnings, ProgressBar& bar);

}  // namespace fx::cli
