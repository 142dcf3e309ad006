// Text to token ids, identical to the fast tokenizers of Hugging Face (tokenizers 0.23, transformers 5): the CLIP
// byte-pair tokenizer and the T5 unigram tokenizer of a diffusers model folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace fx {

struct TokenIds {
  std::vector<int32_t> ids;  // (max_length): the special tokens, the text, then pad_id() up to max_length
  int64_t used = 0;          // ids before the padding, special tokens included
  std::string cut_off;       // the end of the prompt that did not fit; empty if all of it did
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Ids of `utf8`, truncated (the closing special token stays) and padded on the right to exactly `max_length`.
  // Throws Error(invalid_argument) for text that is not UTF-8, with the byte offset, and for a max_length too small
  // for the special tokens.
  virtual TokenIds encode(std::string_view utf8, int max_length) const = 0;

  virtual int32_t pad_id() const = 0;
  virtual int32_t eos_id() const = 0;
  // The largest id that encode() can return: an encoder needs more rows in its table than this.
  virtual int32_t largest_id() const = 0;
  // `model_max_length` of tokenizer_config.json; INT64_MAX where the file sets no limit.
  virtual int64_t model_max_length() const = 0;
};

// The tokenizer of a `tokenizer/` folder: tokenizer.json if there is one, else vocab.json and merges.txt; special
// tokens from tokenizer_config.json and special_tokens_map.json, both optional.
// Throws Error(bad_file) for missing or damaged files and Error(unsupported) for steps we do not implement, by name.
std::unique_ptr<Tokenizer> load_clip_tokenizer(const std::filesystem::path& dir);

// The tokenizer of a `tokenizer_2/` folder: tokenizer.json if there is one, else spiece.model. Errors as above.
std::unique_ptr<Tokenizer> load_t5_tokenizer(const std::filesystem::path& dir);

}  // namespace fx
