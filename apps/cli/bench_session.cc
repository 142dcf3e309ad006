#include "bench_session.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>

#include "pipeline/stop_watch.h"
#include "session.h"

namespace fx::cli {
namespace {

HostTensor random_tensor(const std::string& name, const Shape& shape, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> normal;
  HostTensor tensor{name, shape, std::vector<float>(static_cast<size_t>(shape.count()))};
  for (float& value : tensor.values) value = normal(engine);
  return tensor;
}

std::unique_ptr<Engine> make_engine(const BenchOptions& options, const BenchRow& row, std::unique_ptr<Ops> ops) {
  auto model = make_bench_model(*ops, options,
                                {.precision = row.precision,
                                 .masters = row.merged,
                                 .weight_sets = row.merged && row.reserved ? 2 : 1,
                                 .e4m3_attention = row.e4m3_attention,
                                 .e4m3_modulation = row.e4m3_modulation,
                                 .lora_ranks = row.reserved ? kLargestRank : 0});
  auto engine = std::make_unique<Engine>(std::move(ops), std::move(model));
  if (row.reserved) engine->reserve_rank(kLargestRank);
  engine->pipeline().denoiser().use_recordings(row.recorded);
  return engine;
}

}  // namespace

BenchSession::BenchSession(const BenchOptions& options, const BenchRow& row)
    : batch_(options.batch), rank_(row.adapter == BenchAdapter::largest_rank ? kLargestRank : options.rank) {
  PictureOptions picture = options.picture;
  picture.seed = 0;
  request_ = make_request(picture, "", bench_configs(options));  // before any work
  auto ops = make_bench_ops(options, row);
  row_ = as_run(row, options, *ops);
  StopWatch watch;
  engine_ = make_engine(options, row_, std::move(ops));
  load_seconds_ = watch.lap();

  const ModelConfigs& configs = engine_->model().configs;
  sizes_ = {.batch = batch_,
            .txt_tokens = request_.max_sequence_length,
            .rows = request_.height / configs.size_multiple(),
            .columns = request_.width / configs.size_multiple(),
            .steps = request_.steps};
  sigmas_ = flow_match_sigmas(configs.scheduler, request_.steps, sizes_.img_tokens());
  timesteps_ = flow_match_timesteps(configs.scheduler, sigmas_);
  draw_conditions();
}

void BenchSession::draw_conditions() {
  const FluxConfig& config = engine_->model().configs.flux;
  conditions_ = {random_tensor("prompt_embeds", {batch_, sizes_.txt_tokens, config.context_dim}, 1),
                 random_tensor("pooled_prompt_embeds", {batch_, config.vec_dim}, 2)};
}

std::vector<float> BenchSession::next_noise() {
  std::vector<float> all;
  for (int i = 0; i < batch_; ++i) {
    ++request_.seed;
    const HostTensor noise = packed_noise(engine_->model().configs, request_);
    all.insert(all.end(), noise.values.begin(), noise.values.end());
  }
  return all;
}

FluxActivations& BenchSession::begin() {
  FluxActivations& a = denoiser().activations(sizes_);
  denoiser().begin(a, [&] { return next_noise(); }, conditions_, sigmas_, timesteps_, request_.guidance, nullptr);
  runtime().synchronize();
  return a;
}

PictureSeconds BenchSession::make_picture(const ProgressCallback& progress) {
  PictureSeconds seconds;
  StopWatch watch;
  FluxActivations& a = begin();
  seconds.prepare = watch.lap();
  denoiser().run(a, nullptr, progress);
  seconds.steps = watch.lap();
  const std::vector<float> latents = download(engine_->ops(), a.latents);
  const auto each = static_cast<std::ptrdiff_t>(latents.size()) / batch_;
  for (int i = 0; i < batch_; ++i) {
    const HostTensor one{"latents",
                         {1, sizes_.img_tokens(), a.latents.size(2)},
                         {latents.begin() + i * each, latents.begin() + (i + 1) * each}};
    engine_->pipeline().decode(one, request_.width, request_.height);
  }
  seconds.decode = watch.lap();
  seconds.total = seconds.prepare + seconds.steps + seconds.decode;
  return seconds;
}

AdapterSet BenchSession::set_of(std::shared_ptr<const Adapter> adapter) const {
  // f32 models keep no masters: there the host computes the merged weights.
  return {{std::move(adapter), {.merge = row_.merged && row_.precision == Precision::f32}}};
}

AdapterSet BenchSession::adapters(int turn) {
  if (row_.adapter == BenchAdapter::none) return {};
  if (drawn_.empty()) {
    const AdapterTarget& target = engine_->adapter_target();
    drawn_ = {draw_adapter(target, rank_, AdapterLayers::all, 1),
              draw_adapter(target, std::max(1, rank_ / 2), AdapterLayers::attention, 2)};
  }
  return set_of(drawn_[static_cast<size_t>(turn) % drawn_.size()]);
}

nlohmann::json BenchSession::row_json() const {
  return {{"name", row_.name},
          {"text", row_.text},
          {"precision", name(row_.precision)},
          {"attention", row_.e4m3_attention    ? "e4m3"
                        : row_.fused_attention ? "fused"
                                               : "plain"},
          {"e4m3_modulation", row_.e4m3_modulation},
          {"recorded", row_.recorded},
          {"adapter_rank", row_.adapter == BenchAdapter::none ? 0 : rank_},
          {"merged", row_.adapter != BenchAdapter::none && row_.merged}};
}

}  // namespace fx::cli
