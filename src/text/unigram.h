// The unigram model of sentencepiece: the segmentation of a word whose token scores (log probabilities) add up highest.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "text/token_model.h"

namespace fx {

struct UnigramConfig {
  struct Piece {
    std::string token;
    double score;
  };
  std::vector<Piece> vocab;  // the index is the id
  int32_t unknown_id = 0;
  bool byte_fallback = false;  // characters outside the vocabulary become tokens <0x00> to <0xFF>
};

// Throws Error(bad_file) for an unknown_id outside the vocabulary.
std::unique_ptr<TokenModel> make_unigram_model(UnigramConfig config, const std::string& file);

// The `model` section of a tokenizer.json, of type Unigram.
UnigramConfig parse_unigram(const nlohmann::json& model, const std::string& file);

}  // namespace fx
