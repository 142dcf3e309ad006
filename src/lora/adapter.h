// The canonical form of an adapter: what every file format is read into, and all that the rest of the engine sees.
//
// Most of it is low-rank: scale * B A is added to some rows of a linear layer, W[rows] += scale * B A, with A (rank, in)
// and B (rows, rank); such patches run beside the weight and can be swapped freely. What is not of that form (LoHa, LoKr,
// DoRA, whole differences, biases, norms) changes the parameter itself: it is merged from the base weight, and removed by
// putting that back. Names and row order are canonical (see weights/name_map.h), whatever the file had.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lora/file/file_hash.h"
#include "lora/matrix.h"
#include "weights/component.h"
#include "weights/name_map.h"

namespace fx {

struct LowRank {
  Matrix a;  // (rank, in)
  Matrix b;  // (rows, rank)
  int64_t rank() const { return a.rows(); }
};

// A low-rank addition to a linear layer.
struct Patch : LowRank {
  Component component = Component::transformer;
  std::string module;  // canonical: "double_blocks.0.img_attn.qkv"
  RowRange rows;       // of the module's output; resolved, so count >= 1
  float scale = 1.0f;  // alpha / rank, or 1 where the file gives no alpha
  int64_t in() const { return a.columns(); }
};

// LoHa: (w1_a w1_b) * (w2_a w2_b), elementwise.
struct HadamardDelta {
  LowRank first, second;  // `b` holds w_a (rows, rank), `a` holds w_b (rank, in)
};

// LoKr: kron(w1, w2), element [i p + k, j q + l] = w1[i, j] w2[k, l] for w2 (p, q).
struct KroneckerDelta {
  using Factor = std::variant<Matrix, LowRank>;  // whole, or the product b a
  Factor w1, w2;
};

// The difference itself: (rows, in) of a weight, (1, rows) of a bias or a norm.
struct FullDelta {
  Matrix values;
};

using Delta = std::variant<LowRank, HadamardDelta, KroneckerDelta, FullDelta>;

// Host memory of its matrices.
uint64_t bytes_of(const Delta& delta);

// DoRA: the weight plus its delta, brought to this length. W' = m (W + D) / |W + D|.
struct Magnitude {
  std::vector<float> values;
  bool per_column = false;  // m and the norm belong to the inputs (norm over the patch's rows), not to the output rows
};

// A change of a parameter that is merged into it: W[rows] + strength * (W' - W), where W' = W + scale * D, or DoRA's
// form of it at full strength.
struct DensePatch {
  Component component = Component::transformer;
  std::string parameter;  // canonical: "double_blocks.0.img_attn.qkv.weight", "....bias", "....query_norm.scale"
  RowRange rows;          // of the parameter's first axis; resolved, so count >= 1
  Delta delta;
  float scale = 1.0f;
  std::optional<Magnitude> magnitude;
  bool exchange_halves = false;  // delta and magnitude have the two halves of the rows in the other order
  bool replaces = false;  // delta is the new value, and the user's strength plays no part (norms of control adapters)
  std::string_view kind;  // for reports: "LoKr", "DoRA", "bias", ...
};

// Changes of one kind that are merged into parameters.
struct DenseCost {
  size_t parameters = 0;
  uint64_t bytes = 0;  // of the base values that are kept to undo them, if these are f32: bf16 takes half, e4m3 a quarter
};

// What was found in a file: for people, and for `lora inspect`.
struct AdapterReport {
  std::string format;                      // "PEFT/diffusers": all of `formats`, most keys first
  std::map<std::string, size_t> formats;   // spelling of names, or algorithm -> number of keys
  std::string trainer;                     // "kohya sd-scripts"; empty when the metadata do not tell
  std::string family;                      // "FLUX.1", or what part of other families fits too
  std::vector<std::string> matched;        // keys of the file that are used. Empty while no model is known.
  std::vector<std::string> unmatched;      // keys for which this model has no place
  std::vector<std::string> ignored;        // keys that are known and of no use here (packed embeddings, projections)
  std::vector<std::string> warnings;       // whole sentences without the file's name
  std::map<int64_t, size_t> ranks;         // rank -> number of modules
  std::map<double, size_t> alphas;         // alpha -> number of modules
  size_t without_alpha = 0;                // modules of which the file gives none: their scale is 1
  std::map<std::string, DenseCost> dense;  // "LoKr" -> what cannot stay low-rank and is merged
  std::map<Component, size_t> modules;     // number of modules for each component
  std::map<std::string, size_t> targets;   // "transformer.transformer_blocks.*.attn.to_q" -> number of modules
  std::vector<std::string> dtypes;         // "f16", ...: of the matrices
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
  FileHash hash;
  std::vector<Patch> patches;     // the row ranges of one module do not overlap
  std::vector<DensePatch> dense;  // nor do those of one parameter
  AdapterReport report;

  // Host memory of the matrices.
  uint64_t bytes() const;
};

// The adapter as slots take it: low-rank matrices in f32, so that staging copies them and converts nothing. What is
// merged stays as it is.
Adapter ready_for_slots(Adapter adapter);

}  // namespace fx
