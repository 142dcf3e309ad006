// The canonical form of an adapter: what every file format is read into, and all that the rest of the engine sees.
//
// One adapter adds scale * B A to some rows of some linear layers: W[rows] += scale * B A, with A (rank, in) and
// B (rows, rank). Module names and row order are canonical (see weights/name_map.h), whatever the file had.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "weights/name_map.h"

namespace fx {

// The parts of the pipeline that adapters may touch.
enum class Component { transformer, text_encoder, text_encoder_2 };

// "transformer", "text_encoder", "text_encoder_2": also the prefixes of the diffusers file format.
std::string_view name(Component component);

struct Patch {
  Component component = Component::transformer;
  std::string module;    // canonical: "double_blocks.0.img_attn.qkv"
  RowRange rows;         // of the module's output; resolved, so count >= 1
  std::vector<float> a;  // (rank, in), row-major
  std::vector<float> b;  // (rows.count, rank), row-major
  int64_t rank = 0;
  int64_t in = 0;
  float scale = 1.0f;  // alpha / rank, or 1 where the file gives no alpha
};

// What was found in a file: for people, and for `lora inspect`.
struct AdapterReport {
  std::string format;                     // "PEFT/diffusers"
  std::vector<std::string> matched;       // keys of the file that are used. Empty while no model is known.
  std::vector<std::string> unmatched;     // keys for which this model has no place
  std::vector<std::string> ignored;       // keys that are known and of no use here (packed embeddings, projections)
  std::vector<std::string> warnings;      // whole sentences without the file's name
  std::map<int64_t, size_t> ranks;        // rank -> number of modules
  std::map<Component, size_t> modules;    // number of modules for each component
  std::map<std::string, size_t> targets;  // "transformer.transformer_blocks.*.attn.to_q" -> number of modules
  std::vector<std::string> dtypes;        // "f16", ...: of the matrices
  std::vector<std::string> trigger_words;
  std::map<std::string, std::string> metadata;  // of the file, as it is
  uint64_t bytes = 0;                           // of the file
  double load_seconds = 0;

  // "16", or "4 to 64" for mixed ranks.
  std::string rank_summary() const;
};

struct Adapter {
  std::string name;  // the file's name without its extension
  std::filesystem::path path;
  std::string hash;            // "AutoV2": first ten digits of the file's SHA-256
  std::vector<Patch> patches;  // the row ranges of one module do not overlap
  AdapterReport report;

  // Host memory of the matrices.
  uint64_t bytes() const;
};

}  // namespace fx
