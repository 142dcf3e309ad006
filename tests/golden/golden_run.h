// Runs the request of a golden file on a back-end.
#pragma once

#include <memory>
#include <string>

#include "pipeline/engine.h"
#include "support/back_ends.h"
#include "support/golden.h"

namespace fx::test {

// What a way to hold a model (model_ways(), or the name of a back-end) asks for.
ModelOptions options_of(const std::string& way);

// Engines are kept for the life of the process: one per model and way.
Engine& engine_for(const std::string& model, const std::string& way);
// One that nobody has used.
std::unique_ptr<Engine> new_engine(const std::string& model, const std::string& way);

// Where a model and its adapters ("loras/") lie: beside the golden file, or in models/.
std::filesystem::path model_folder(const std::string& model);

Request request_of(const Golden& golden);

// "loras/a.safetensors:0.7;loras/b.safetensors:-1" below the model's golden folder.
std::vector<AdapterChoice> adapters_of(const Golden& golden, const std::string& model);

// All golden cases as (model, case), those with or without adapters.
std::vector<std::pair<std::string, std::string>> golden_cases(bool with_adapters);

inline std::filesystem::path case_file(const std::string& model, const std::string& name) {
  return golden_folder() / model / (name + ".safetensors");
}

}  // namespace fx::test
