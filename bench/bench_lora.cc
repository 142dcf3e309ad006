// What adapters cost: reading a large file, and changing them on a loaded model.
//   bench_lora [--model models/demo] [--benchmark_min_time=2]
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>

#include "backends/make_ops.h"
#include "io/safetensors.h"
#include "lora/file/read.h"
#include "pipeline/engine.h"

namespace {

namespace fs = std::filesystem;

constexpr size_t kTensors = 1200;
constexpr double kFileBytes = 150e6;

// The layers of FLUX.1 [dev], declared and never touched: their memory stays virtual.
class FluxDev {
 public:
  FluxDev() {
    target_.add(fx::Component::transformer, flux_names_, flux_params_);
    target_.add(fx::Component::text_encoder, clip_names_, clip_params_);
    target_.add(fx::Component::text_encoder_2, t5_names_, t5_params_);
  }
  const fx::AdapterTarget& target() const { return target_; }

  // Names in diffusers' spelling with (in, out): of the transformer, then of CLIP and T5, in a fixed order.
  struct Module {
    std::string name;
    int64_t in, out;
  };
  std::vector<Module> modules() const {
    std::vector<Module> all;
    for (const fx::Component component :
         {fx::Component::transformer, fx::Component::text_encoder, fx::Component::text_encoder_2}) {
      std::map<std::string, Module> sorted;
      for (const auto& [source, target] : target_.names(component)->modules()) {
        const auto place = target_.find(component, source);
        const bool foreign = component != fx::Component::transformer || source != target.name;
        if (!place || !foreign) continue;
        const std::string full = std::string(fx::name(component)) + "." + source;
        sorted[full] = {full, target_.slots()[place->slot].slot->in, place->rows.count};
      }
      for (const auto& [name, module] : sorted) all.push_back(module);
    }
    return all;
  }

 private:
  std::unique_ptr<fx::Runtime> runtime_ = fx::make_host_runtime();
  fx::ParamStore flux_params_{*runtime_}, clip_params_{*runtime_}, t5_params_{*runtime_};
  fx::FluxConfig config_;
  fx::Flux flux_{flux_params_, config_};
  fx::ClipText clip_{clip_params_, fx::ClipConfig()};
  fx::T5Encoder t5_{t5_params_, fx::T5Config()};
  fx::NameMap flux_names_ =
      fx::flux_name_map({config_.double_blocks, config_.single_blocks, config_.hidden(), config_.mlp_hidden()});
  fx::NameMap clip_names_ = fx::clip_name_map(fx::parameter_names(clip_params_));
  fx::NameMap t5_names_ = fx::t5_name_map(fx::parameter_names(t5_params_));
  fx::AdapterTarget target_;
};

// A bf16 file of 1,200 tensors, about 150 MB; removed at the end.
class LargeFile {
 public:
  explicit LargeFile(const FluxDev& model)
      : path_(fs::temp_directory_path() / ("bench_lora-" + std::to_string(::getpid()) + ".safetensors")) {
    std::vector<FluxDev::Module> modules = model.modules();
    modules.resize(std::min(modules.size(), kTensors / 2));
    int64_t width = 0;
    for (const auto& module : modules) width += module.in + module.out;
    const auto rank = static_cast<int64_t>(kFileBytes / 2 / static_cast<double>(width) + 0.5);
    std::vector<fx::SafetensorsWriter::Entry> entries;
    for (const auto& module : modules) {
      entries.push_back({module.name + ".lora_A.weight", fx::DType::bf16, {rank, module.in}});
      entries.push_back({module.name + ".lora_B.weight", fx::DType::bf16, {module.out, rank}});
    }
    fx::SafetensorsWriter writer(path_, entries);
    for (const auto& entry : entries) {
      std::vector<uint16_t> values(static_cast<size_t>(entry.shape.count()));
      for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<uint16_t>(0x3c00 + i % 512);  // finite
      writer.write(std::as_bytes(std::span(values)));
    }
    writer.commit();
  }
  ~LargeFile() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// Parse, map, validate: all that is done before a file can be staged.
void read_large_file(benchmark::State& state) {
  const FluxDev model;
  const LargeFile file(model);
  size_t tensors = 0;
  for (auto _ : state) {
    const fx::Adapter adapter = fx::read_adapter(file.path(), model.target());
    tensors = adapter.report.matched.size();
    benchmark::DoNotOptimize(tensors);
  }
  state.counters["tensors"] = static_cast<double>(tensors);
  state.counters["MB"] = static_cast<double>(fs::file_size(file.path())) / 1e6;
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(fs::file_size(file.path())));
}

// Two adapters of the model, the largest first.
std::vector<fs::path> two_adapters(const fs::path& model) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(model / "loras")) files.push_back(entry.path());
  std::ranges::sort(files, std::greater{}, [](const fs::path& path) { return fs::file_size(path); });
  files.resize(2);
  return files;
}

// `choices` in turns, through the engine: look at the file, find it in the library, stage, publish.
void change_adapters(benchmark::State& state, fx::Engine& engine, const std::vector<fx::AdapterChoice>& choices) {
  for (const fx::AdapterChoice& choice : choices) engine.use_adapters({choice});
  size_t turn = 0;
  double publish = 0;
  for (auto _ : state) publish += engine.use_adapters({choices[turn++ % choices.size()]}).swap.seconds;
  state.counters["publish"] = benchmark::Counter(1e3 * publish, benchmark::Counter::kAvgIterations);  // ms
  engine.use_adapters({});
}

fs::path take_model(int& argc, char** argv) {
  fs::path model = "models/demo";
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::string_view(argv[i]) != "--model") continue;
    model = argv[i + 1];
    std::copy(argv + i + 2, argv + argc, argv + i);
    argc -= 2;
    break;
  }
  return model;
}

}  // namespace

int main(int argc, char** argv) {
  const fs::path model = take_model(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  fx::Engine engine(fx::make_cpu_ops(), model);
  const std::vector<fs::path> files = two_adapters(model);
  benchmark::RegisterBenchmark("read/1200_tensors", read_large_file)->UseRealTime()->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark(
      "scale",
      [&](benchmark::State& state) {
        change_adapters(state, engine, {{files[0], {.scale = 0.5f}}, {files[0], {.scale = 0.75f}}});
      })
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("swap/cached",
                               [&](benchmark::State& state) {
                                 change_adapters(state, engine, {{files[0], {}}, {files[1], {}}});
                               })
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
