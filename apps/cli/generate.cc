// fluxswap generate: pictures of one prompt.
#include "adapter_choice.h"
#include "commands.h"
#include "console.h"
#include "core/error.h"
#include "inputs.h"
#include "json_report.h"
#include "outputs.h"
#include "pipeline/stop_watch.h"
#include "session.h"
#include "usage_error.h"

namespace fx::cli {
namespace {

struct Result {
  std::vector<Picture> pictures;
  std::vector<Path> paths;
  AdapterChange change;
  std::string model_hash;
  double total_seconds = 0;
};

// Everything that can go wrong without the weights goes wrong here.
Request checked_request(const GenerateOptions& o, Inputs& inputs) {
  expect_png_name(o.out);
  const Request request = make_request(o.picture, o.prompt.value_or(""), read_model_configs(o.engine.model));
  const uint64_t last_seed = UINT64_MAX - static_cast<uint64_t>(o.count - 1);
  expect(request.seed <= last_seed, "--seed: expected at most {} for --count {}, found {}", last_seed, o.count,
         request.seed);
  if (!o.inputs.empty()) inputs = read_inputs(o.inputs);
  expect(o.prompt || (inputs.given.prompt_embeds && inputs.given.pooled),
         "--prompt is required, unless --inputs has prompt_embeds and pooled_prompt_embeds");
  const auto& latents = inputs.given.latents;
  check(!latents || (latents->shape.rank() == 3 && latents->shape[0] == o.count), ErrorCode::invalid_argument,
        "{}: latents: expected shape ({}, tokens, channels) for --count {}, found {}", o.inputs.string(), o.count,
        o.count, latents ? to_string(latents->shape) : "");
  return request;
}

void expect_distinct_files(const GenerateOptions& o, const std::vector<Path>& pictures) {
  std::vector<NamedFile> outputs = {{"--save-latents", o.save_latents}, {"--taps", o.taps}};
  for (const Path& path : pictures) outputs.push_back({"--out", path});
  std::vector<NamedFile> inputs = adapter_files(o.adapters.choices);
  inputs.push_back({"--inputs", o.inputs});
  expect_distinct(outputs, inputs);
}

// Noise is always one for each picture; embeddings may be one for all.
GivenInputs given_to(const GivenInputs& all, int picture, int count) {
  GivenInputs given = all;
  for (auto* tensor : {&given.latents, &given.prompt_embeds, &given.pooled}) {
    if (*tensor && count > 1 && (*tensor)->shape[0] == count) *tensor = pictures_of(**tensor, picture, 1);
  }
  return given;
}

// Drops the pixels of pictures that are on disk; latents stay for --save-latents.
void make_pictures(const GenerateOptions& o, Engine& engine, Request request, const Inputs& inputs, ProgressBar& bar,
                   Result& result) {
  Taps taps;
  const uint64_t first_seed = request.seed;
  for (int i = 0; i < o.count; ++i) {
    request.seed = first_seed + static_cast<uint64_t>(i);
    request.given = given_to(inputs.given, i, o.count);
    request.taps = i == 0 && !o.taps.empty() ? &taps : nullptr;
    if (o.count > 1) bar.set_prefix(fmt::format("{}/{}", i + 1, o.count));
    Picture picture = engine.generate(request, [&](const Progress& progress) {
      bar.update(progress);
      return true;
    });
    if (i == 0) warn_all(picture.warnings, bar);
    if (result.model_hash.empty()) result.model_hash = model_hash(engine.model().folder);
    bar.clear();
    std::string text =
        picture_parameters(picture.request, engine.model().configs, result.model_hash, engine.adapter_uses());
    // Seed and prompt alone would not make this picture again.
    if (!o.inputs.empty()) text += ", Inputs: " + used_names(inputs.given);
    save_picture(result.paths[static_cast<size_t>(i)], picture.image, text);
    if (!o.json) {
      write_out("{}: seed {}, {}x{}, {} steps, {:.3g} s per step, {:.3g} s\n",
                result.paths[static_cast<size_t>(i)].string(), request.seed, request.width, request.height,
                request.steps, picture.timings.seconds_per_step,
                picture.timings.encode_seconds + picture.timings.prepare_seconds + picture.timings.denoise_seconds +
                    picture.timings.decode_seconds);
    }
    picture.image = {};
    result.pictures.push_back(std::move(picture));
  }
  if (!o.taps.empty()) save_tensors(o.taps, taps.tensors());
}

void save_latents(const Path& path, const std::vector<Picture>& pictures) {
  HostTensor all = pictures.front().latents;  // (1, I, C) -> (N, I, C)
  all.shape[0] = static_cast<int64_t>(pictures.size());
  for (size_t i = 1; i < pictures.size(); ++i) {
    all.values.insert(all.values.end(), pictures[i].latents.values.begin(), pictures[i].latents.values.end());
  }
  save_tensors(path, {all});
}

Timings sum(const std::vector<Picture>& pictures) {
  Timings all;
  for (const Picture& picture : pictures) {
    all.encode_seconds += picture.timings.encode_seconds;
    all.prepare_seconds += picture.timings.prepare_seconds;
    all.denoise_seconds += picture.timings.denoise_seconds;
    all.decode_seconds += picture.timings.decode_seconds;
    all.seconds_per_step += picture.timings.seconds_per_step / static_cast<double>(pictures.size());
  }
  return all;
}

nlohmann::json report(const GenerateOptions& o, Engine& engine, const GivenInputs& given, const Result& result) {
  const Request& request = result.pictures.front().request;
  nlohmann::json images = nlohmann::json::array();
  for (size_t i = 0; i < result.pictures.size(); ++i) {
    images.push_back({{"seed", result.pictures[i].request.seed},
                      {"output", result.paths[i].string()},
                      {"timings", timings_json(result.pictures[i].timings)}});
  }
  nlohmann::json timings = timings_json(sum(result.pictures));
  timings["load_seconds"] = engine.load_seconds();
  timings["adapter_read_seconds"] = result.change.read_seconds;
  timings["adapter_swap_seconds"] = result.change.swap.seconds;
  timings["total_seconds"] = result.total_seconds;
  nlohmann::json json = run_json("generate", engine, request, result.model_hash);
  json.update({{"prompt", request.prompt},
               {"count", o.count},
               {"adapters", adapters_json(engine.adapters())},
               {"swap", swap_json(result.change)},
               {"library", library_json(engine.library().statistics())},
               {"timings", std::move(timings)},
               {"output", result.paths.front().string()},
               {"images", std::move(images)}});
  if (!o.save_latents.empty()) json["latents"] = o.save_latents.string();
  if (!o.taps.empty()) json["taps"] = o.taps.string();
  if (!o.inputs.empty()) json["inputs"] = {{"file", o.inputs.string()}, {"used", used_names(given)}};
  if (given.prompt_embeds) json["max_sequence_length"] = given.prompt_embeds->shape[1];
  return json;
}

}  // namespace

void run_generate(const GenerateOptions& given) {
  StopWatch watch;
  GenerateOptions o = given;
  std::string prompt = o.prompt.value_or("");
  resolve(o.adapters, prompt);
  if (o.prompt) o.prompt = prompt;
  Inputs inputs;
  const Request request = checked_request(o, inputs);
  Result result;
  result.paths = picture_paths(o.out, request.seed, o.count);
  expect_distinct_files(o, result.paths);
  for (const Path& path : result.paths) check_writable(path);
  check_writable(o.save_latents);
  check_writable(o.taps);

  ProgressBar bar;
  const auto engine = open_engine(o.engine, o.adapters, bar);
  result.change = use_adapters(*engine, o.adapters, bar);
  make_pictures(o, *engine, request, inputs, bar, result);
  if (!o.save_latents.empty()) save_latents(o.save_latents, result.pictures);
  result.total_seconds = watch.lap();
  if (o.json) print_json(report(o, *engine, inputs.given, result));
}

}  // namespace fx::cli
