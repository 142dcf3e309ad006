// A FLUX.1 model in memory: the four networks and two tokenizers of a diffusers folder.
#pragma once

#include <memory>

#include "models/flux/transformer.h"
#include "models/vae/decoder.h"
#include "pipeline/config_json.h"
#include "text/tokenizer.h"
#include "weights/name_map.h"

namespace fx {

class Model {
 public:
  // Loads everything. Throws bad_file, unsupported or out_of_memory; messages name file and tensor.
  Model(Runtime& runtime, const std::filesystem::path& folder);

  const std::filesystem::path folder;
  const ModelConfigs configs;

  // Declared before the networks: their parameters live here.
  ParamStore transformer_params, clip_params, t5_params, vae_params;
  const Flux flux;
  const ClipText clip;
  const T5Encoder t5;
  const VaeDecoder decoder;
  const std::unique_ptr<Tokenizer> clip_tokenizer, t5_tokenizer;
  // How the names in adapter files reach these parameters.
  const NameMap transformer_names, clip_names, t5_names;

  // Tokens that the CLIP encoder sees: what its tokenizer and its positions allow.
  int64_t clip_tokens() const;
};

std::vector<std::string> parameter_names(const ParamStore& store);

// The first ten hexadecimal digits of the SHA-256 of the transformer's weights, by which stable-diffusion-webui users know a
// model: of the one file, or of the digests of all shards that the index names. Reads them whole. Empty when that fails: a
// finished picture is worth more than its model's hash.
std::string model_hash(const std::filesystem::path& folder);

}  // namespace fx
