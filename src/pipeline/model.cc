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

std::vector<std::string> parameter_names(const ParamStore& store) {
  std::vector<std::string> names;
  for (const Param& param : store.params()) names.push_back(param.name);
  return names;
}

Model::Model(Runtime& runtime, const std::filesystem::path& path)
    : folder(path),
      configs(read_model_configs(path)),
      transformer_params(runtime),
      clip_params(runtime),
      t5_params(runtime),
      vae_params(runtime),
      flux(transformer_params, configs.flux),
      clip(clip_params, configs.clip),
      t5(t5_params, configs.t5),
      decoder(vae_params, configs.vae),
      clip_tokenizer(load_clip_tokenizer(path / "tokenizer")),
      t5_tokenizer(load_t5_tokenizer(path / "tokenizer_2")),
      transformer_names(flux_name_map(layout_of(configs.flux))),
      clip_names(clip_name_map(parameter_names(clip_params))),
      t5_names(t5_name_map(parameter_names(t5_params))) {
  check_vocabulary(*clip_tokenizer, configs.clip.vocab, folder / "tokenizer", "text_encoder");
  check_vocabulary(*t5_tokenizer, configs.t5.vocab, folder / "tokenizer_2", "text_encoder_2");
  bind_params(transformer_params, *open_sharded(folder / "transformer", kDiffusersBase), transformer_names, "transformer");
  bind_params(clip_params, *open_sharded(folder / "text_encoder", kTransformersBase), clip_names, "text_encoder");
  bind_params(t5_params, *open_sharded(folder / "text_encoder_2", kTransformersBase), t5_names, "text_encoder_2");
  bind_params(vae_params, *open_sharded(folder / "vae", kDiffusersBase), vae_name_map(parameter_names(vae_params)), "vae");
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
    for (const auto& file : files) digests += sha256_file(file);
    // One file is known by its own hash; several by the hash of theirs.
    if (files.size() > 1) digests = sha256_hex(std::as_bytes(std::span(digests)));
    return digests.substr(0, 10);
  } catch (const std::exception&) {
    return "";
  }
}

}  // namespace fx
