// The text encoders in bench image: rows of their own, because pictures are measured from given embeddings.
#include "bench_report.h"
#include "core/arena.h"
#include "pipeline/engine.h"
#include "pipeline/stop_watch.h"
#include "session.h"

namespace fx::cli {
namespace {

constexpr const char* kT5 = "t5";
constexpr const char* kClip = "clip";

// Any ids that the vocabulary has.
std::vector<int32_t> some_ids(int64_t count, int64_t vocab) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(i * 7 % (vocab - 1)));
  return ids;
}

void encode(Ops& ops, const Model& model, bool t5, int64_t tokens) {
  Arena arena(ops.runtime());
  if (t5) {
    model.t5.forward(ops, some_ids(tokens, model.configs.t5.vocab), arena.allocate(model.t5_params.activations(), {1, tokens, model.configs.t5.hidden}));
  } else {
    std::vector<int32_t> ids = some_ids(tokens, model.configs.clip.vocab);
    ids.back() = static_cast<int32_t>(model.configs.clip.eos_token);
    model.clip.forward(ops, ids, arena.allocate(model.clip_params.activations(), {1, 1, model.configs.clip.hidden}));
  }
  ops.runtime().synchronize();
}

}  // namespace

std::vector<std::string> text_encoder_rows() { return {kT5, kClip}; }

nlohmann::json measure_text_encoder(const BenchOptions& options, const std::string& row_name, nlohmann::json& facts) {
  const bool t5 = row_name == kT5;
  BenchRow row{.name = row_name, .precision = Precision::bf16};
  const auto ops = make_bench_ops(options, row);
  row = as_run(row, options, *ops);
  const auto model = make_bench_model(*ops, options, {.precision = row.precision}, BenchParts::text_encoders);
  const Request request = make_request(options.picture, "", model->configs);
  facts = bench_facts(options, "bench image", *ops, request);
  const int64_t tokens = t5 ? request.max_sequence_length : model->configs.clip.max_positions;
  std::vector<double> seconds;
  for (int i = 0; i < kWarmUps + options.images; ++i) {
    StopWatch watch;
    encode(*ops, *model, t5, tokens);
    if (i >= kWarmUps) seconds.push_back(watch.lap());
  }
  nlohmann::json result = {{"name", row_name},
                           {"text", t5 ? "the T5 encoder alone" : "the CLIP encoder alone"},
                           {"precision", name(row.precision == Precision::f32 ? Precision::f32 : Precision::bf16)},
                           {"tokens", tokens},
                           {"peak_bytes", ops->runtime().memory().peak_bytes}};
  put_list(result, "seconds", seconds);
  result["image_seconds"] = median(seconds);
  return result;
}

}  // namespace fx::cli
