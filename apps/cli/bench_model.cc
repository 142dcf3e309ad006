// Models to measure: of a folder, or random ones in the published sizes.
#include "backends/make_ops.h"
#include "bench.h"
#include "core/error.h"
#include "pipeline/engine.h"
#include "session.h"

namespace fx::cli {
namespace {

constexpr uint64_t kSeed = 1;

// The structs' defaults are the published sizes, but for the schedule, whose defaults are those of diffusers.
ModelConfigs flux_dev() {
  ModelConfigs configs;
  configs.name = "flux-dev";
  configs.scheduler.shift = 3.0;
  configs.scheduler.use_dynamic_shifting = true;
  return configs;
}

ModelConfigs flux_schnell() {
  ModelConfigs configs;
  configs.name = "flux-schnell";
  configs.flux.guidance_embed = false;
  return configs;
}

// For tests: every kind of layer, and seconds on a CPU.
ModelConfigs tiny() {
  ModelConfigs configs = flux_schnell();
  configs.name = "tiny";
  configs.flux = {.double_blocks = 1,
                  .single_blocks = 2,
                  .heads = 2,
                  .head_dim = 16,
                  .context_dim = 24,
                  .vec_dim = 16,
                  .guidance_embed = false,
                  .axes_dim = {4, 6, 6}};
  configs.clip = {.vocab = 64, .hidden = 16, .mlp_hidden = 32, .layers = 1, .heads = 2, .eos_token = 63};
  configs.t5 = {.vocab = 64, .hidden = 24, .head_dim = 8, .mlp_hidden = 32, .layers = 1, .heads = 2};
  configs.vae.block_channels = {8, 8};
  configs.vae.layers_per_block = 1;
  configs.vae.norm_groups = 4;
  configs.vae.sample_size = 32;
  return configs;
}

constexpr struct {
  const char* name;
  ModelConfigs (*configs)();
} kShapes[] = {{"flux-dev", flux_dev}, {"flux-schnell", flux_schnell}, {"tiny", tiny}};

}  // namespace

std::vector<std::string> bench_shapes() {
  std::vector<std::string> names;
  for (const auto& shape : kShapes) names.emplace_back(shape.name);
  return names;
}

ModelConfigs bench_configs(const std::string& shape, BenchParts parts) {
  for (const auto& [name, make] : kShapes) {
    if (shape != name) continue;
    ModelConfigs configs = make();
    // What takes no part takes no memory either, so that the peak is that of what is measured.
    const ModelConfigs small = tiny();
    if (parts == BenchParts::transformer) {
      configs.clip = small.clip;
      configs.t5 = small.t5;
    } else {
      configs.flux = small.flux;
      configs.vae = small.vae;
    }
    return configs;
  }
  fail(ErrorCode::internal, "no shape is called '{}'", shape);
}

ModelConfigs bench_configs(const BenchOptions& options, BenchParts parts) {
  return options.random_weights ? bench_configs(options.shape, parts) : read_model_configs(options.engine.model);
}

std::unique_ptr<Ops> make_bench_ops(const BenchOptions& options, const BenchRow& row) {
  auto ops = make_ops(options.engine);
  // The only back-end that has its attention two ways.
  if (row.fused_attention || ops->backend_name() != "cuda") return ops;
  ops.reset();
  return make_cuda_ops({.fused_attention = false});
}

std::unique_ptr<Model> make_bench_model(Ops& ops, const BenchOptions& options, const ModelOptions& model,
                                        BenchParts parts) {
  if (options.random_weights) return std::make_unique<Model>(ops, bench_configs(options, parts), model, kSeed);
  return std::make_unique<Model>(ops, options.engine.model, model);
}

}  // namespace fx::cli
