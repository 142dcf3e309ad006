// A FLUX.1 model in memory: the four networks and two tokenizers of a diffusers folder.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "core/precision.h"
#include "lora/write/base_weights.h"
#include "models/flux/transformer.h"
#include "models/vae/decoder.h"
#include "pipeline/config_json.h"
#include "text/tokenizer.h"
#include "weights/name_map.h"

namespace fx {

// How a model is held in memory and computes.
struct ModelOptions {
  Precision precision = Precision::f32;
  bool masters = false;         // keep what adapters are merged from, besides quantised or merged weights
  int weight_sets = 1;          // see ModelTypes
  bool e4m3_attention = false;  // see ModelTypes
  bool e4m3_modulation = false;  // see ModelTypes; of no effect but in fp8
  int64_t lora_ranks = 0;       // see ModelTypes; nothing where it says that there is no front, or the device has no use for it
  // Bytes of `total` that have been read.
  std::function<void(size_t bytes, size_t total)> progress;
};

class Model {
 public:
  // Loads everything. Throws bad_file, unsupported or out_of_memory; messages name file and tensor.
  Model(Ops& ops, const std::filesystem::path& folder, const ModelOptions& options = {});
  // Random weights and no tokenizers: pictures from given embeddings, for measurements.
  Model(Ops& ops, const ModelConfigs& configs, const ModelOptions& options, uint64_t seed);

  const std::filesystem::path folder;
  const Precision precision;
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
  // The unquantised values of the transformer, in its file; empty for random weights.
  std::optional<BaseWeights> transformer_file;

  // Tokens that the CLIP encoder sees: what its tokenizer and its positions allow.
  int64_t clip_tokens() const;
  // Bytes of files that were read, and how fast.
  size_t loaded_bytes() const { return loaded_bytes_; }

 private:
  Model(Ops& ops, const std::filesystem::path& folder, const ModelConfigs& configs, const ModelOptions& options,
        std::unique_ptr<Tokenizer> clip_tokenizer, std::unique_ptr<Tokenizer> t5_tokenizer);
  void load(Ops& ops, const ModelOptions& options);

  size_t loaded_bytes_ = 0;
};

ModelTypes transformer_types(const Ops& ops, const ModelOptions& options);

std::vector<std::string> parameter_names(const ParamStore& store);

// The first ten hexadecimal digits of the SHA-256 of the transformer's weights, by which stable-diffusion-webui users know a
// model: of the one file, or of the digests of all shards that the index names. Reads them whole. Empty when that fails: a
// finished picture is worth more than its model's hash; and for a transformer of more than 4 GiB, which takes longer to
// hash than to load.
std::string model_hash(const std::filesystem::path& folder);

}  // namespace fx
