#include "json_report.h"

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>

namespace fx::cli {

using nlohmann::json;

double as_printed(float value) { return std::strtod(fmt::format("{}", value).c_str(), nullptr); }

namespace {

json adapter_memory_json(const AdapterMemory& memory) {
  return {{"slot_bytes", memory.slot_bytes}, {"base_bytes", memory.base_bytes}};
}

}  // namespace

json run_json(const std::string& command, Engine& engine, const Request& request, const std::string& model_hash) {
  return {{"command", command},
          {"model", model_json(engine, model_hash)},
          {"backend", engine.ops().backend_name()},
          {"device", engine.ops().runtime().device_name()},
          {"precision", name(engine.model().precision)},
          {"seed", request.seed},
          {"width", request.width},
          {"height", request.height},
          {"steps", request.steps},
          {"guidance", request.guidance},
          {"max_sequence_length", request.max_sequence_length},
          {"noise", request.noise == NoiseType::f32 ? "f32" : "bf16"},
          {"graph_captures", engine.pipeline().denoiser().captures()},
          {"adapter_memory", adapter_memory_json(engine.hot_swap().memory())},
          {"peak_memory", memory_json(engine.ops().runtime())}};
}

json model_json(const Engine& engine, const std::string& hash) {
  return {{"folder", engine.model().folder.string()}, {"name", engine.model().configs.name}, {"hash", hash}};
}

namespace {

// Only what was asked for: an adapter that acts everywhere and always has its scale alone.
void add_settings(json& entry, const AdapterSettings& settings) {
  entry["scale"] = as_printed(settings.scale);
  if (settings.text_encoder_scale) entry["text_encoder_scale"] = as_printed(*settings.text_encoder_scale);
  if (!settings.steps.whole()) entry["steps"] = {settings.steps.start, settings.steps.end};
  for (const BlockWeight& block : settings.blocks) {
    entry["blocks"].push_back({{"pattern", block.pattern}, {"factor", as_printed(block.factor)}});
  }
  if (settings.merge) entry["merged"] = true;
  if (settings.beside) entry["beside"] = true;
}

json dense_json(const AdapterReport& report) {
  json dense = json::object();
  for (const auto& [kind, cost] : report.dense) {
    dense[kind] = {{"parameters", cost.parameters}, {"bytes", cost.bytes}};
  }
  return dense;
}

}  // namespace

json library_json(const LibraryStatistics& s) {
  return {{"adapters", s.adapters},
          {"bytes", s.bytes},
          {"hits", s.hits},
          {"misses", s.misses},
          {"preloads", s.preloads},
          {"evictions", s.evictions},
          {"load_seconds", s.load_seconds},
          {"swaps", s.swaps},
          {"swap_seconds", s.swap_seconds}};
}

json adapters_json(const AdapterSet& adapters) {
  json list = json::array();
  for (const AppliedAdapter& applied : adapters) {
    const Adapter& adapter = *applied.adapter;
    json entry = {{"name", adapter.name},
                  {"file", adapter.path.string()},
                  {"hash", adapter.hash.autov2()},
                  {"format", adapter.report.format},
                  {"rank", adapter.report.rank_summary()},
                  {"matched", adapter.report.matched.size()},
                  {"unmatched", adapter.report.unmatched.size()},
                  {"ignored", adapter.report.ignored.size()}};
    add_settings(entry, applied.settings);
    if (!adapter.report.dense.empty()) entry["dense"] = dense_json(adapter.report);
    list.push_back(std::move(entry));
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
          {"stage_seconds", change.stage_seconds},
          {"swap_seconds", change.swap.seconds},
          {"slots_written", change.swap.slots_written},
          {"slots_rescaled", change.swap.slots_rescaled},
          {"slots_cleared", change.swap.slots_cleared},
          {"parameters_merged", change.swap.params_merged},
          {"parameters_restored", change.swap.params_restored},
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
