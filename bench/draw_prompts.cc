// Draws many prompts in one process, for judges: loading and CUDA's start would take longer than the pictures.
//   draw_prompts MODEL --jobs FILE --out FILE [--device D] [--precision P] [--adapter-mode M] [--max-rank N]
// A line of the jobs' file: a name, an adapter's file or nothing, a seed and a prompt, with tabs between them. The output is
// one safetensors file: NAME is the picture (H, W, 3), NAME.moved the latents minus the noise that they were made of. Prints
// one JSON object.
#include <CLI/CLI.hpp>
#include <deque>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "backends/make_ops.h"
#include "core/error.h"
#include "io/safetensors.h"
#include "pipeline/engine.h"
#include "pipeline/plan.h"
#include "pipeline/stop_watch.h"

namespace {

struct Job {
  std::string name;
  std::vector<fx::AdapterChoice> adapters;
  uint64_t seed = 0;
  std::string prompt;
};

struct Options {
  std::string model, jobs, out, device = "cpu", precision = "auto", adapter_mode = "auto";
  int64_t max_rank = 0;
  fx::Request request;
};

std::vector<Job> read_jobs(const std::string& path) {
  std::ifstream file(path);
  fx::check(file.is_open(), fx::ErrorCode::invalid_argument, "cannot read {}", path);
  std::vector<Job> jobs;
  for (std::string line; std::getline(file, line);) {
    Job job;
    std::string adapter, seed;
    std::istringstream fields(line);
    std::getline(fields, job.name, '\t');
    std::getline(fields, adapter, '\t');
    std::getline(fields, seed, '\t');
    fx::check(!!std::getline(fields, job.prompt), fx::ErrorCode::invalid_argument,
              "{}: expected name, adapter, seed and prompt with tabs between them, found \"{}\"", path, line);
    if (!adapter.empty()) job.adapters.push_back({adapter});
    job.seed = std::stoull(seed);
    jobs.push_back(std::move(job));
  }
  return jobs;
}

fx::ModelOptions model_options(const Options& options, fx::Ops& ops) {
  fx::WantedModel wanted;
  for (const fx::Precision precision : {fx::Precision::f32, fx::Precision::bf16, fx::Precision::fp8}) {
    if (options.precision == name(precision)) wanted.precision = precision;
  }
  if (options.max_rank > 0) wanted.lora_ranks = options.max_rank;
  if (options.adapter_mode != "auto") wanted.masters = options.adapter_mode == "merged";
  return plan_model(fx::read_model_configs(options.model), ops, wanted);
}

// Keeps what a file is written from.
class Results {
 public:
  void add(const std::string& name, const fx::Picture& picture, const fx::ModelConfigs& configs) {
    std::vector<uint8_t>& rgb = pictures_.emplace_back(picture.image.rgb);
    tensors_[name] = fx::Tensor(rgb.data(), fx::DType::u8, {picture.image.height, picture.image.width, 3});
    std::vector<float>& moved = latents_.emplace_back(picture.latents.values);
    const std::vector<float> noise = packed_noise(configs, picture.request).values;
    for (size_t i = 0; i < moved.size(); ++i) moved[i] -= noise[i];
    tensors_[name + ".moved"] = fx::Tensor(moved.data(), fx::DType::f32, picture.latents.shape);
  }
  void write(const std::string& path) const { fx::write_safetensors(path, tensors_); }

 private:
  std::deque<std::vector<uint8_t>> pictures_;
  std::deque<std::vector<float>> latents_;
  std::map<std::string, fx::Tensor> tensors_;
};

nlohmann::json draw(const Options& options) {
  const std::vector<Job> jobs = read_jobs(options.jobs);
  auto ops = options.device == "cuda" ? fx::make_cuda_ops() : fx::make_cpu_ops();
  const std::string device = ops->runtime().device_name();
  fx::StopWatch watch;
  const fx::ModelOptions held = model_options(options, *ops);
  fx::Engine engine(std::move(ops), options.model, held);
  const double loaded = watch.lap();
  Results results;
  for (const Job& job : jobs) {
    fx::Request request = options.request;
    request.prompt = job.prompt;
    request.seed = job.seed;
    results.add(job.name, engine.generate_with(job.adapters, request), engine.model().configs);
  }
  const double drawn = watch.lap();
  results.write(options.out);
  return {{"device", device},
          {"precision", name(held.precision)},
          {"merged", held.masters},
          {"pictures", jobs.size()},
          {"captures", engine.pipeline().denoiser().captures()},
          {"load_s", loaded},
          {"draw_s", drawn}};
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  options.request.steps = 20;
  options.request.max_sequence_length = 64;
  CLI::App app("Draws the prompts of a file");
  app.add_option("model", options.model, "diffusers folder")->required();
  app.add_option("--jobs", options.jobs, "lines of name, adapter, seed, prompt")->required();
  app.add_option("--out", options.out, "safetensors file")->required();
  app.add_option("--device", options.device)->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--precision", options.precision)->check(CLI::IsMember({"auto", "f32", "bf16", "fp8"}));
  app.add_option("--adapter-mode", options.adapter_mode)->check(CLI::IsMember({"auto", "merged", "unmerged"}));
  app.add_option("--max-rank", options.max_rank)->check(CLI::Range(0, 1024));
  app.add_option("--steps", options.request.steps)->check(CLI::Range(1, 1000));
  app.add_option("--max-sequence-length", options.request.max_sequence_length);
  CLI11_PARSE(app, argc, argv);
  try {
    std::cout << draw(options).dump() << "\n";
  } catch (const fx::Error& error) {
    std::cerr << "draw_prompts: " << error.what() << "\n";
    return 1;
  }
}
