#include "json_report.h"

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>

namespace fx::cli {

using nlohmann::json;

double as_printed(float value) { return std::strtod(fmt::format("{}", value).c_str(), nullptr); }

json run_json(const std::string& command, Engine& engine, const Request& request, const std::string& model_hash) {
  return {{"command", command},
          {"model", model_json(engine, model_hash)},
          {"backend", engine.ops().backend_name()},
          {"device", engine.ops().runtime().device_name()},
          {"precision", "f32"},
          {"seed", request.seed},
          {"width", request.width},
          {"height", request.height},
          {"steps", request.steps},
          {"guidance", request.guidance},
          {"max_sequence_length", request.max_sequence_length},
          {"noise", request.noise == NoiseType::f32 ? "f32" : "bf16"},
          {"graph_captures", kGraphCaptures},
          {"peak_memory", memory_json(engine.ops().runtime())}};
}

json model_json(const Engine& engine, const std::string& hash) {
  return {{"folder", engine.model().folder.string()}, {"name", engine.model().configs.name}, {"hash", hash}};
}

json adapters_json(const AdapterSet& adapters) {
  json list = json::array();
  for (const AppliedAdapter& applied : adapters) {
    const Adapter& adapter = *applied.adapter;
    list.push_back({{"name", adapter.name},
                    {"file", adapter.path.string()},
                    {"hash", adapter.hash.autov2()},
                    {"scale", as_printed(applied.settings.scale)},
                    {"format", adapter.report.format},
                    {"rank", adapter.report.rank_summary()},
                    {"matched", adapter.report.matched.size()},
                    {"unmatched", adapter.report.unmatched.size()},
                    {"ignored", adapter.report.ignored.size()}});
  }
  return list;
}

json shape_json(const Shape& shape) {
  json dims = json::array();
  for (int i = 0; i < shape.rank(); ++i) dims.push_back(shape[i]);
  return dims;
}

json written_json(const std::string& command, const Path& output, const std::vector<HostTensor>& tensors,
                  const Path& taps) {
  json shapes = json::object();
  for (const HostTensor& tensor : tensors) shapes[tensor.name] = shape_json(tensor.shape);
  json report = {{"command", command}, {"output", output.string()}, {"tensors", std::move(shapes)}};
  if (!taps.empty()) report["taps"] = taps.string();
  return report;
}

json swap_json(const AdapterChange& change) {
  return {{"read_seconds", change.read_seconds},
          {"swap_seconds", change.swap.seconds},
          {"slots_written", change.swap.slots_written},
          {"slots_rescaled", change.swap.slots_rescaled},
          {"slots_cleared", change.swap.slots_cleared},
          {"bytes", change.swap.bytes},
          {"slots_grew", change.swap.grew}};
}

json timings_json(const Timings& timings) {
  return {{"encode_seconds", timings.encode_seconds},
          {"prepare_seconds", timings.prepare_seconds},
          {"denoise_seconds", timings.denoise_seconds},
          {"seconds_per_step", timings.seconds_per_step},
          {"decode_seconds", timings.decode_seconds}};
}

json memory_json(Runtime& runtime) {
  return {{"runtime_bytes", runtime.memory().peak_bytes}, {"process_bytes", process_peak_bytes()}};
}

uint64_t process_peak_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string key; status >> key; status.ignore(1024, '\n')) {
    uint64_t kibibytes = 0;
    if (key == "VmHWM:" && status >> kibibytes) return kibibytes * 1024;
  }
  return 0;
}

}  // namespace fx::cli
