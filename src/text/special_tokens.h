// Special tokens as transformers reads them from tokenizer_config.json and special_tokens_map.json.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/token_pipeline.h"

namespace fx {

class SpecialTokens {
 public:
  // `defaults` are the names that the model's tokenizer class gives where the files say nothing, as in
  // {{"pad_token", "<pad>"}}. Error(bad_file) for damaged files, Error(unsupported) for padding on the left.
  SpecialTokens(const std::filesystem::path& dir, const nlohmann::json& defaults);

  // Content of "bos_token", "eos_token" and so on; empty if there is none.
  std::string content(const char* key) const;
  // All that a tokenizer without a tokenizer.json recognises in text. Of tokens with one content the last counts.
  std::vector<AddedToken> added_tokens() const;
  int64_t model_max_length() const;
  // A whole number of tokenizer_config.json, or `fallback`.
  int64_t number(const char* key, int64_t fallback) const;

  // Fills in pad_id, eos_id and model_max_length.
  void apply(TokenPipeline& pipeline) const;
  // Error(bad_file) if model_max_length leaves no room for the special tokens.
  void check_length(const TokenPipeline& pipeline) const;
  // The id of the token "bos_token", "eos_token" and so on; Error(bad_file) if it is none of the tokenizer's.
  int32_t id(const TokenPipeline& pipeline, const char* key) const;

 private:
  std::string file_;
  nlohmann::json config_;
  std::vector<AddedToken> decoder_;  // added_tokens_decoder, by id
};

}  // namespace fx
