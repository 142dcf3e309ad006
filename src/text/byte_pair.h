// Byte-pair encoding: merges neighbouring symbols of a word, the pair that was learnt first before all others.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/token_model.h"

namespace fx {

struct BytePairConfig {
  std::unordered_map<std::string, int32_t> vocab;
  std::vector<std::pair<std::string, std::string>> merges;  // in order of rank
  std::string unknown;      // token for symbols outside the vocabulary; empty: drop them
  std::string end_of_word;  // "</w>" for CLIP
  bool fuse_unknown = false;
  bool ignore_merges = false;  // a word that is a token needs no merging
};

// Throws Error(bad_file) if a merge or the unknown token is not in the vocabulary.
std::unique_ptr<TokenModel> make_byte_pair_model(BytePairConfig config, const std::string& file);

// The `model` section of a tokenizer.json, of type BPE. Error(unsupported) for dropout, byte_fallback and prefixes.
BytePairConfig parse_byte_pair(const nlohmann::json& model, const std::string& file);
// A vocab.json, and the lines of a merges.txt.
std::unordered_map<std::string, int32_t> parse_vocab(const nlohmann::json& vocab, const std::string& file);
std::vector<std::pair<std::string, std::string>> parse_merges(const std::string& text, const std::string& file);

}  // namespace fx
