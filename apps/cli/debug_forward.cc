// fluxswap debug encode and transformer: parts of the pipeline that need weights.
#include <algorithm>
#include <cmath>

#include "adapter_choice.h"
#include "commands.h"
#include "console.h"
#include "core/error.h"
#include "inputs.h"
#include "json_report.h"
#include "outputs.h"
#include "session.h"
#include "usage_error.h"

namespace fx::cli {
namespace {

struct Batch {
  HostTensor latents;            // (B, I, C)
  Conditions conditions;         // (B, T, context_dim), (B, vec_dim)
  std::vector<float> timesteps;  // (B), 0 to 1
  std::vector<float> guidance;   // (B)
};

const HostTensor& required(const std::optional<HostTensor>& tensor, const char* name, int rank, const Path& file) {
  check(tensor.has_value(), ErrorCode::invalid_argument,
        "{}: expected latents, prompt_embeds, pooled_prompt_embeds and timestep, {} is missing", file.string(), name);
  check(tensor->shape.rank() == rank && tensor->shape[0] >= 1, ErrorCode::invalid_argument,
        "{}: {}: expected {} dimensions, found {}", file.string(), name, rank, to_string(tensor->shape));
  return *tensor;
}

// One value for each picture; a single one serves all.
std::vector<float> per_picture(const std::optional<HostTensor>& tensor, double fallback, int64_t pictures,
                               const Path& file) {
  if (!tensor) return std::vector<float>(static_cast<size_t>(pictures), static_cast<float>(fallback));
  if (tensor->values.size() == 1) return std::vector<float>(static_cast<size_t>(pictures), tensor->values.front());
  check(static_cast<int64_t>(tensor->values.size()) == pictures, ErrorCode::invalid_argument,
        "{}: {}: expected 1 or {} values, found {}", file.string(), tensor->name, pictures, to_string(tensor->shape));
  return tensor->values;
}

Batch read_batch(const DebugTransformerOptions& o) {
  const Inputs inputs = read_inputs(o.inputs);
  Batch batch{.latents = required(inputs.given.latents, "latents", 3, o.inputs),
              .conditions = {required(inputs.given.prompt_embeds, "prompt_embeds", 3, o.inputs),
                             required(inputs.given.pooled, "pooled_prompt_embeds", 2, o.inputs)}};
  check(inputs.timestep && !inputs.timestep->values.empty(), ErrorCode::invalid_argument,
        "{}: expected latents, prompt_embeds, pooled_prompt_embeds and timestep, timestep is missing",
        o.inputs.string());
  const int64_t pictures = batch.latents.shape[0];
  batch.timesteps = per_picture(inputs.timestep, 0, pictures, o.inputs);
  batch.guidance = per_picture(inputs.guidance, o.guidance, pictures, o.inputs);
  check(std::ranges::all_of(batch.timesteps, [](float t) { return t >= 0 && t <= 1; }), ErrorCode::invalid_argument,
        "{}: timestep: expected values from 0 to 1", o.inputs.string());
  return batch;
}

// Rows and columns of image tokens.
FluxSizes sizes_of(const DebugTransformerOptions& o, const ModelConfigs& configs, const Batch& batch) {
  const int64_t tokens = batch.latents.shape[1], multiple = configs.size_multiple();
  FluxSizes sizes{.batch = batch.latents.shape[0], .txt_tokens = batch.conditions.prompt_embeds.shape[1], .steps = 1};
  const auto side = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(tokens))));
  const bool given = o.width != 0 || o.height != 0;
  const Request size = make_request({.width = o.width, .height = o.height}, "", configs);
  if (!given && side * side == tokens) {
    sizes.rows = sizes.columns = side;
    return sizes;
  }
  sizes.rows = size.height / multiple;
  sizes.columns = size.width / multiple;
  check(sizes.img_tokens() == tokens, ErrorCode::invalid_argument,
        "{}: latents: {} tokens do not make {}x{} pixels, expected {}{}", o.inputs.string(), tokens, size.width,
        size.height, sizes.img_tokens(), given ? "" : "; say --width and --height");
  return sizes;
}

bool all_equal(const std::vector<float>& values) {
  return std::ranges::all_of(values, [&](float v) { return v == values.front(); });
}

// (B, I, C) velocity.
std::vector<float> forward(Engine& engine, const FluxSizes& sizes, const Batch& batch, Taps* taps) {
  Denoiser& denoiser = engine.pipeline().denoiser();
  FluxActivations& a = denoiser.activations(sizes);
  const float t = batch.timesteps.front();
  const auto expected = a.latents.shape();
  check(batch.latents.shape == expected, ErrorCode::invalid_argument, "latents: expected {}, found {}",
        to_string(expected), to_string(batch.latents.shape));
  denoiser.begin(a, [&] { return batch.latents.values; }, batch.conditions, {t, 0.0f}, {t * 1000.0f}, batch.guidance.front(), taps);
  engine.model().flux.forward(engine.ops(), a, taps);
  return download(engine.ops(), a.velocity);
}

// Pictures with timesteps of their own run one by one: within a batch all are at the same step.
std::vector<float> forward_each(Engine& engine, FluxSizes sizes, const Batch& batch) {
  const int64_t pictures = std::exchange(sizes.batch, 1);
  std::vector<float> all;
  for (int64_t i = 0; i < pictures; ++i) {
    const Batch one{
        .latents = pictures_of(batch.latents, i, 1),
        .conditions = {pictures_of(batch.conditions.prompt_embeds, i, 1), pictures_of(batch.conditions.pooled, i, 1)},
        .timesteps = {batch.timesteps[static_cast<size_t>(i)]},
        .guidance = {batch.guidance[static_cast<size_t>(i)]}};
    const std::vector<float> velocity = forward(engine, sizes, one, nullptr);
    all.insert(all.end(), velocity.begin(), velocity.end());
  }
  return all;
}

void check_batch_sizes(const Batch& batch, const Path& file) {
  for (const HostTensor* tensor : {&batch.conditions.prompt_embeds, &batch.conditions.pooled}) {
    check(tensor->shape[0] == batch.latents.shape[0], ErrorCode::invalid_argument,
          "{}: {}: expected {} pictures as in latents, found {}", file.string(), tensor->name, batch.latents.shape[0],
          to_string(tensor->shape));
  }
}

}  // namespace

void run_debug_encode(const DebugEncodeOptions& given) {
  DebugEncodeOptions o = given;
  resolve(o.adapters, o.prompt);
  make_request({.max_sequence_length = o.max_sequence_length}, o.prompt, read_model_configs(o.engine.model));
  expect_distinct({{"--out", o.out}, {"--taps", o.taps}}, adapter_files(o.adapters.choices));
  check_writable(o.out);
  check_writable(o.taps);
  ProgressBar bar;
  const auto engine = open_engine(o.engine, o.adapters, bar);
  use_adapters(*engine, o.adapters, bar);
  Taps taps;
  std::vector<std::string> warnings;
  const Conditions conditions =
      engine->pipeline().encode(o.prompt, o.max_sequence_length, o.taps.empty() ? nullptr : &taps, &warnings);
  warn_all(warnings, bar);
  save_tensors(o.out, {conditions.prompt_embeds, conditions.pooled});
  if (!o.taps.empty()) save_tensors(o.taps, taps.tensors());
  bar.clear();
  if (o.json) {
    return print_json(written_json("debug encode", o.out, {conditions.prompt_embeds, conditions.pooled}, o.taps));
  }
  write_out("{}: prompt_embeds {}, pooled_prompt_embeds {}\n", o.out.string(),
            to_string(conditions.prompt_embeds.shape), to_string(conditions.pooled.shape));
}

void run_debug_transformer(const DebugTransformerOptions& given) {
  DebugTransformerOptions o = given;
  resolve(o.adapters);
  const ModelConfigs configs = read_model_configs(o.engine.model);
  const Batch batch = read_batch(o);
  check_batch_sizes(batch, o.inputs);
  const FluxSizes sizes = sizes_of(o, configs, batch);
  const bool together = all_equal(batch.timesteps) && all_equal(batch.guidance);
  check(together || o.taps.empty(), ErrorCode::invalid_argument,
        "--taps: expected one timestep and one guidance for all pictures");
  std::vector<NamedFile> files = adapter_files(o.adapters.choices);
  files.push_back({"--inputs", o.inputs});
  expect_distinct({{"--out", o.out}, {"--taps", o.taps}}, files);
  check_writable(o.out);
  check_writable(o.taps);

  ProgressBar bar;
  const auto engine = open_engine(o.engine, o.adapters, bar);
  use_adapters(*engine, o.adapters, bar);
  bar.show("one forward pass");
  Taps taps;
  HostTensor sample{"sample", batch.latents.shape, {}};
  sample.values =
      together ? forward(*engine, sizes, batch, o.taps.empty() ? nullptr : &taps) : forward_each(*engine, sizes, batch);
  save_tensors(o.out, {sample});
  if (!o.taps.empty()) save_tensors(o.taps, taps.tensors());
  bar.clear();
  if (o.json) return print_json(written_json("debug transformer", o.out, {sample}, o.taps));
  write_out("{}: sample {}\n", o.out.string(), to_string(sample.shape));
}

}  // namespace fx::cli
