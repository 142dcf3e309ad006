#include "pipeline/pipeline.h"

#include "core/arena.h"
#include "core/error.h"
#include "pipeline/decode.h"
#include "pipeline/stop_watch.h"

namespace fx {
namespace {

void report(const ProgressCallback& progress, Stage stage) {
  if (progress) check(progress({stage}), ErrorCode::cancelled, "cancelled");
}

void warn_if_cut(const TokenIds& tokens, const char* encoder, int64_t limit, std::vector<std::string>* warnings) {
  if (tokens.cut_off.empty() || !warnings) return;
  warnings->push_back(
      fmt::format("the prompt is longer than the {} tokens of {}; cut off: \"{}\"", limit, encoder, tokens.cut_off));
}

}  // namespace

HostTensor packed_noise(const ModelConfigs& configs, const Request& request) {
  const int64_t c = configs.vae.latent_channels;
  const int64_t h = request.height / configs.vae.factor(), w = request.width / configs.vae.factor();
  std::vector<float> noise(static_cast<size_t>(c * h * w));  // (1, c, h, w)
  draw_noise(request.seed, request.noise, noise);
  HostTensor packed{"latents", {1, h / 2 * (w / 2), 4 * c}, std::vector<float>(noise.size())};
  size_t next = 0;
  for (int64_t row = 0; row < h; row += 2) {
    for (int64_t column = 0; column < w; column += 2) {
      for (int64_t channel = 0; channel < c; ++channel) {
        const float* at = noise.data() + (channel * h + row) * w + column;
        for (const float value : {at[0], at[1], at[w], at[w + 1]}) packed.values[next++] = value;
      }
    }
  }
  return packed;
}

Conditions Pipeline::encode(const std::string& prompt, int max_sequence_length, Taps* taps,
                            std::vector<std::string>* warnings) {
  const auto clip_tokens = static_cast<int>(model_.clip_tokens());
  const TokenIds clip_ids = model_.clip_tokenizer->encode(prompt, clip_tokens);
  const TokenIds t5_ids = model_.t5_tokenizer->encode(prompt, max_sequence_length);
  warn_if_cut(clip_ids, "CLIP", clip_tokens, warnings);
  warn_if_cut(t5_ids, "T5", max_sequence_length, warnings);

  Arena arena(ops_.runtime());
  const int64_t vec_dim = model_.configs.flux.vec_dim, context_dim = model_.configs.flux.context_dim;
  const Tensor pooled = arena.allocate(model_.clip_params.activations(), {1, 1, vec_dim});
  const Tensor embeds = arena.allocate(model_.t5_params.activations(), {1, max_sequence_length, context_dim});
  model_.clip.forward(ops_, clip_ids.ids, pooled, taps);
  model_.t5.forward(ops_, t5_ids.ids, embeds, taps);
  return {{"prompt_embeds", embeds.shape(), download(ops_, embeds)},
          {"pooled_prompt_embeds", {1, vec_dim}, download(ops_, pooled)}};
}

Image Pipeline::decode(const HostTensor& latents, int64_t width, int64_t height, Taps* taps) {
  return decode_picture(ops_, model_, latents, width, height, taps, decode_bytes(model_.vae_params.activations()));
}

Picture Pipeline::generate(const Request& wanted, const ProgressCallback& progress, std::span<const Phase> phases) {
  Picture picture;
  picture.request = completed(wanted, model_.configs);
  const Request& request = picture.request;
  StopWatch watch;

  report(progress, Stage::encode);
  Conditions conditions;
  if (!request.given.prompt_embeds || !request.given.pooled) {
    conditions = encode(request.prompt, request.max_sequence_length, request.taps, &picture.warnings);
  }
  if (request.given.prompt_embeds) conditions.prompt_embeds = *request.given.prompt_embeds;
  if (request.given.pooled) conditions.pooled = *request.given.pooled;
  check(conditions.prompt_embeds.shape.rank() == 3, ErrorCode::invalid_argument,
        "prompt_embeds: expected (1, tokens, {}), found {}", model_.configs.flux.context_dim,
        to_string(conditions.prompt_embeds.shape));
  picture.timings.encode_seconds = watch.lap();

  const int64_t multiple = model_.configs.size_multiple();
  FluxActivations& a = denoiser_.activations({.batch = 1,
                                              .txt_tokens = conditions.prompt_embeds.shape[1],
                                              .rows = request.height / multiple,
                                              .columns = request.width / multiple,
                                              .steps = request.steps});
  const std::vector<float> sigmas = flow_match_sigmas(model_.configs.scheduler, request.steps, a.sizes.img_tokens());
  const std::vector<float> timesteps = flow_match_timesteps(model_.configs.scheduler, sigmas);
  const auto& given = request.given.latents;
  check(!given || given->shape == a.latents.shape(), ErrorCode::invalid_argument, "latents: expected {}, found {}",
        to_string(a.latents.shape()), given ? to_string(given->shape) : "");
  const auto draw = [&] { return given ? given->values : packed_noise(model_.configs, request).values; };
  denoiser_.begin(a, draw, conditions, sigmas, timesteps, request.guidance, request.taps);
  picture.timings.prepare_seconds = watch.lap();

  denoiser_.run(a, request.taps, progress, phases);
  picture.timings.denoise_seconds = watch.lap();
  picture.timings.seconds_per_step = picture.timings.denoise_seconds / request.steps;
  picture.latents = {"latents", a.latents.shape(), download(ops_, a.latents)};

  report(progress, Stage::decode);
  picture.image = decode(picture.latents, request.width, request.height, request.taps);
  picture.timings.decode_seconds = watch.lap();
  return picture;
}

}  // namespace fx
