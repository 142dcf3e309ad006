// fluxswap debug tokens, sigmas and noise: what needs no weights.
#include <nlohmann/json.hpp>

#include "commands.h"
#include "console.h"
#include "core/error.h"
#include "json_report.h"
#include "outputs.h"
#include "session.h"
#include "text/tokenizer.h"

namespace fx::cli {
namespace {

using nlohmann::json;

void report_tokens(const char* name, const TokenIds& tokens, bool as_json, json& all) {
  if (as_json) {
    all[name] = {{"ids", tokens.ids}, {"used", tokens.used}, {"cut_off", tokens.cut_off}};
    return;
  }
  write_out("{}: {} of {} tokens used: {}\n", name, tokens.used, tokens.ids.size(),
            fmt::join(tokens.ids.begin(), tokens.ids.begin() + tokens.used, " "));
  if (!tokens.cut_off.empty()) write_out("{}: cut off: {}\n", name, one_line(tokens.cut_off));
}

}  // namespace

void run_debug_tokens(const DebugTokensOptions& o) {
  check_prompt(o.prompt);
  const ModelConfigs configs = read_model_configs(o.model);
  const auto clip = load_clip_tokenizer(o.model / "tokenizer");
  const auto t5 = load_t5_tokenizer(o.model / "tokenizer_2");
  const int64_t clip_tokens = std::min(clip->model_max_length(), configs.clip.max_positions);
  json all = {{"prompt", o.prompt}};
  const TokenIds clip_ids = clip->encode(o.prompt, static_cast<int>(clip_tokens));
  const TokenIds t5_ids = t5->encode(o.prompt, o.max_sequence_length);
  report_tokens("clip", clip_ids, o.json, all);
  report_tokens("t5", t5_ids, o.json, all);
  if (o.json) print_json(all);
}

void run_debug_sigmas(const DebugSigmasOptions& o) {
  const ModelConfigs configs = read_model_configs(o.model);
  const Request request = make_request(o.picture, "", configs);
  const int64_t tokens = request.width / configs.size_multiple() * (request.height / configs.size_multiple());
  const std::vector<float> sigmas = flow_match_sigmas(configs.scheduler, request.steps, tokens);
  const std::vector<float> timesteps = flow_match_timesteps(configs.scheduler, sigmas);
  if (!o.json) {
    for (size_t i = 0; i < sigmas.size(); ++i) write_out("{:4} {:.9g}\n", i, sigmas[i]);
    return;
  }
  json all = {{"width", request.width}, {"height", request.height}, {"steps", request.steps},
              {"image_tokens", tokens}, {"sigmas", sigmas},         {"timesteps", timesteps}};
  if (configs.scheduler.use_dynamic_shifting) all["mu"] = dynamic_shift_mu(configs.scheduler, tokens);
  print_json(all);
}

void run_debug_noise(const DebugNoiseOptions& o) {
  check_writable(o.out);
  HostTensor noise{"noise", o.shape, std::vector<float>(static_cast<size_t>(o.shape.count()))};
  draw_noise(o.seed, o.noise, noise.values);
  save_tensors(o.out, {noise});
  if (o.json) {
    json report = written_json("debug noise", o.out, {noise});
    report["seed"] = o.seed;
    report["noise"] = o.noise == NoiseType::f32 ? "f32" : "bf16";
    return print_json(report);
  }
  write_out("{}: noise {}, seed {}\n", o.out.string(), to_string(o.shape), o.seed);
}

}  // namespace fx::cli
