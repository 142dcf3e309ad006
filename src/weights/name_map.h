// From the names in files to canonical names: the only place that knows foreign tensor names.
//
// A map is built from one declarative table of rules, expanded over the block counts of a configuration. The same map
// reads checkpoints (parameters) and adapters (modules); new spellings are new rows, never new code.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace fx {

// Rows [begin, begin + count) of a canonical module; count -1 means all of them.
struct RowRange {
  int64_t begin = 0;
  int64_t count = -1;
  bool whole() const { return count < 0; }
  bool operator==(const RowRange&) const = default;
};

struct NameTarget {
  std::string name;  // canonical: of a module, or of a parameter
  RowRange rows;
  // The source stores the two halves of the output rows in the other order.
  bool exchange_halves = false;
};

// The sizes over which the table is expanded.
struct FluxLayout {
  int64_t double_blocks, single_blocks;
  int64_t hidden;      // H
  int64_t mlp_hidden;  // M
};

class NameMap {
 public:
  // A linear layer, without ".weight": "transformer_blocks.0.attn.to_k" -> {"double_blocks.0.img_attn.qkv", rows H..2H}.
  // Canonical names map to themselves. Nothing for a name that is unknown.
  std::optional<NameTarget> module(std::string_view source) const;

  // A parameter: the module's target with the same ".weight" or ".bias", or a norm's gain.
  std::optional<NameTarget> parameter(std::string_view source) const;

  // Tensors that files carry and nobody needs: position counters, projections.
  bool ignored(std::string_view parameter) const;

  // The parameter of which this one is a copy ("encoder.embed_tokens.weight" of "shared.weight"): needed only in a file
  // that has the copy alone.
  std::optional<std::string> tied_to(std::string_view parameter) const;

  // All (source, target) pairs of modules: for tests and for reports of near misses.
  const std::unordered_map<std::string, NameTarget>& modules() const { return modules_; }
  // The same of parameters that are not of a linear layer.
  const std::unordered_map<std::string, NameTarget>& parameters() const { return parameters_; }

  void add_module(std::string source, NameTarget target);
  void add_parameter(std::string source, NameTarget target);
  void ignore_suffix(std::string suffix) { ignored_suffixes_.push_back(std::move(suffix)); }
  void ignore_prefix(std::string prefix) { ignored_prefixes_.push_back(std::move(prefix)); }
  void add_tied(std::string copy, std::string original) { tied_.emplace(std::move(copy), std::move(original)); }
  // Names without this prefix are looked up with it too ("text_model.").
  void set_optional_prefix(std::string prefix) { optional_prefix_ = std::move(prefix); }

 private:
  std::unordered_map<std::string, NameTarget> modules_;
  std::unordered_map<std::string, NameTarget> parameters_;
  std::unordered_map<std::string, std::string> tied_;
  std::vector<std::string> ignored_suffixes_, ignored_prefixes_;
  std::string optional_prefix_;
};

NameMap flux_name_map(const FluxLayout& layout);

// Files and canonical names agree for these; `parameters` are the declared names. Of the VAE, the half (encoder or
// decoder) of which nothing is declared is ignored.
NameMap clip_name_map(const std::vector<std::string>& parameters);
NameMap t5_name_map(const std::vector<std::string>& parameters);
NameMap vae_name_map(const std::vector<std::string>& parameters);

}  // namespace fx
