// What turns one word into tokens: byte pairs or unigrams.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "text/aligned_text.h"

namespace fx {

struct Token {
  int32_t id;
  uint32_t origin;  // byte offset in the prompt of its first character
};

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the tokens of `word`, which is not empty.
  virtual void tokenize(const AlignedText& word, std::vector<Token>& tokens) const = 0;
  virtual std::optional<int32_t> id_of(std::string_view token) const = 0;
  virtual int32_t size() const = 0;
  virtual int32_t largest_id() const { return size() - 1; }
};

}  // namespace fx
