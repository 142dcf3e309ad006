// The steps of a fast tokenizer, in order: added tokens, normalizer, pre-tokenizer, model, special tokens, padding.
#pragma once

#include <memory>
#include <vector>

#include "text/added_tokens.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/token_model.h"
#include "text/tokenizer.h"

namespace fx {

struct TokenPipeline {
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<TokenModel> model;
  std::unique_ptr<AddedTokens> added;
  std::vector<int32_t> prefix, suffix;  // special tokens around the text
  int32_t pad_id = 0;
  int32_t eos_id = 0;
  int64_t model_max_length = 0;

  std::unique_ptr<Tokenizer> tokenizer() &&;
};

}  // namespace fx
