#include "pipeline/model.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "io/json_file.h"
#include "io/safetensors.h"
#include "io/sha256.h"
#include "nn/bind.h"

namespace fx {
namespace {

constexpr const char* kDiffusersBase = "diffusion_pytorch_model";
constexpr const char* kTransformersBase = "model";
constexpr uintmax_t kHashedAtMost = uintmax_t{4} << 30;

FluxLayout layout_of(const FluxConfig& config) {
  return {config.double_blocks, config.single_blocks, config.hidden(), config.mlp_hidden()};
}

// A tokenizer of another model would address rows that the embedding does not have.
void check_vocabulary(const Tokenizer& tokenizer, int64_t rows, const std::filesystem::path& folder, const char* encoder) {
  check(tokenizer.largest_id() < rows, ErrorCode::bad_file,
        "{}: the tokenizer has ids up to {}: expected a vocab_size of more in {}/config.json, found {}; take both from one "
        "model",
        folder.string(), tokenizer.largest_id(), encoder, rows);
}

}  // namespace

ModelTypes transformer_types(const Ops& ops, const ModelOptions& options) {
  ModelTypes types = ModelTypes::transformer(options.precision, options.masters, options.e4m3_modulation);
  types.weight_sets = options.weight_sets;
  types.e4m3_attention = options.e4m3_attention;
  if (ops.multiplies_in(DType::f8_e4m3)) types.lora_ranks = options.lora_ranks;
  return types;
}

std::vector<std::string> parameter_names(const ParamStore& store) {
  std::vector<std::string> names;
  for (const Param& param : store.params()) names.push_back(param.name);
  return names;
}

Model::Model(Ops& ops, const std::filesystem::path& path, const ModelConfigs& model_configs, const ModelOptions& options,
             std::unique_ptr<Tokenizer> clip_words, std::unique_ptr<Tokenizer> t5_words)
    : folder(path),
      precision(options.precision),
      configs(model_configs),
      transformer_params(ops.runtime(), transformer_types(ops, options)),
      clip_params(ops.runtime(), ModelTypes::plain_of(options.precision)),
      t5_params(ops.runtime(), ModelTypes::plain_of(options.precision)),
      vae_params(ops.runtime(), ModelTypes::plain_of(options.precision)),
      flux(transformer_params, configs.flux),
      clip(clip_params, configs.clip),
      t5(t5_params, configs.t5),
      decoder(vae_params, configs.vae),
      clip_tokenizer(std::move(clip_words)),
      t5_tokenizer(std::move(t5_words)),
      transformer_names(flux_name_map(layout_of(configs.flux))),
      clip_names(clip_name_map(parameter_names(clip_params))),
      t5_names(t5_name_map(parameter_names(t5_params))) {}

Model::Model(Ops& ops, const std::filesystem::path& path, const ModelOptions& options)
    : Model(ops, path, read_model_configs(path), options, load_clip_tokenizer(path / "tokenizer"),
            load_t5_tokenizer(path / "tokenizer_2")) {
  check_vocabulary(*clip_tokenizer, configs.clip.vocab, folder / "tokenizer", "text_encoder");
  check_vocabulary(*t5_tokenizer, configs.t5.vocab, folder / "tokenizer_2", "text_encoder_2");
  load(ops, options);
}

Model::Model(Ops& ops, const ModelConfigs& model_configs, const ModelOptions& options, uint64_t seed)
    : Model(ops, {}, model_configs, options, nullptr, nullptr) {
  for (ParamStore* store : {&transformer_params, &clip_params, &t5_params, &vae_params}) fill_random(ops, *store, ++seed);
}

void Model::load(Ops& ops, const ModelOptions& options) {
  struct Part {
    ParamStore& store;
    std::unique_ptr<TensorSource> source;
    const NameMap& names;
    const char* component;
  };
  const NameMap vae_names = vae_name_map(parameter_names(vae_params));
  Part parts[] = {
      {transformer_params, open_sharded(folder / "transformer", kDiffusersBase), transformer_names, "transformer"},
      {clip_params, open_sharded(folder / "text_encoder", kTransformersBase), clip_names, "text_encoder"},
      {t5_params, open_sharded(folder / "text_encoder_2", kTransformersBase), t5_names, "text_encoder_2"},
      {vae_params, open_sharded(folder / "vae", kDiffusersBase), vae_names, "vae"}};
  size_t total = 0;
  for (const Part& part : parts) {
    for (const TensorInfo& info : part.source->tensors()) total += info.end - info.begin;
  }
  for (const Part& part : parts) {
    const size_t before = loaded_bytes_;
    bind_params(ops, part.store, *part.source, part.names, part.component, [&](size_t bytes) {
      loaded_bytes_ = before + bytes;
      if (options.progress) options.progress(loaded_bytes_, total);
    });
  }
  transformer_file.emplace(std::move(parts[0].source), transformer_names);
}

int64_t Model::clip_tokens() const { return std::min(clip_tokenizer->model_max_length(), configs.clip.max_positions); }

namespace {

// The weight files of the transformer: those of the index, or the one.
std::set<std::filesystem::path> transformer_files(const std::filesystem::path& folder) {
  const std::filesystem::path base = folder / "transformer" / kDiffusersBase;
  const std::filesystem::path index = base.string() + ".safetensors.index.json";
  if (!std::filesystem::exists(index)) return {base.string() + ".safetensors"};
  std::set<std::filesystem::path> files;
  const nlohmann::json json = read_json_file(index);
  for (const auto& [tensor, file] : json.at("weight_map").items()) {
    files.insert(folder / "transformer" / file.get<std::string>());
  }
  return files;
}

}  // namespace

std::string model_hash(const std::filesystem::path& folder) {
  try {
    std::string digests;
    const auto files = transformer_files(folder);
    uintmax_t bytes = 0;
    for (const auto& file : files) bytes += std::filesystem::file_size(file);
    if (bytes > kHashedAtMost) return "";
    for (const auto& file : files) digests += sha256_file(file);
    // One file is known by its own hash; several by the hash of theirs.
    if (files.size() > 1) digests = sha256_hex(std::as_bytes(std::span(digests)));
    return digests.substr(0, 10);
  } catch (const std::exception&) {
    return "";
  }
}

}  // namespace fx
