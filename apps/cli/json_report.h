// The parts of the --json reports.
#pragma once

#include <nlohmann/json.hpp>

#include "options.h"
#include "pipeline/engine.h"

namespace fx::cli {

// The double that prints as the float does: 0.8, not 0.800000011920929.
double as_printed(float value);

// What every report about pictures says: model, back-end, and the request as it was carried out. Call it last, when the peak
// of memory has been reached.
nlohmann::json run_json(const std::string& command, Engine& engine, const Request& request, const std::string& model_hash);
nlohmann::json model_json(const Engine& engine, const std::string& hash);
// One entry for each active adapter: file, settings, what of the file was used.
nlohmann::json adapters_json(const AdapterSet& adapters);
// What a debug command has written: the file, and the shape of each tensor in it by name. `taps` may be empty.
nlohmann::json written_json(const std::string& command, const Path& output, const std::vector<HostTensor>& tensors,
                            const Path& taps = {});
nlohmann::json shape_json(const Shape& shape);
nlohmann::json library_json(const LibraryStatistics& statistics);
nlohmann::json swap_json(const AdapterChange& change);
nlohmann::json timings_json(const Timings& timings);
// Through the runtime, and of the whole process.
nlohmann::json memory_json(Runtime& runtime);

// Most memory that the process ever held, in bytes; 0 where the system does not say.
uint64_t process_peak_bytes();

}  // namespace fx::cli
