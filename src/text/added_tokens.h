// Tokens that are recognised in the text before the model sees it: special tokens and those added after training.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/normalizer.h"
#include "text/token_model.h"

namespace fx {

struct AddedToken {
  std::string content;
  bool single_word = false;  // only where no letter, digit or underscore touches it
  bool lstrip = false;       // swallows the white space before it
  bool rstrip = false;       // and after it
  bool normalized = false;   // is looked for in the normalised text, in its own normalised form
  bool special = true;

  bool operator==(const AddedToken&) const = default;
};

// The object {"content": ..., "single_word": ...} of Hugging Face; missing flags are off.
AddedToken parse_added_token(const nlohmann::json& json, const std::string& file);

class AddedTokens {
 public:
  // Ids come from the model's vocabulary; tokens outside it are numbered after its end. A later token of the same
  // content replaces an earlier one.
  AddedTokens(const std::vector<AddedToken>& tokens, const TokenModel& model, const Normalizer& normalizer);

  // A part of a text: a token (with an id), or what is between tokens. No part is empty.
  struct Part {
    AlignedText text;
    std::optional<int32_t> id;
  };
  // Finds the leftmost, longest tokens; `normalized` chooses which of the two groups is looked for.
  std::vector<Part> split(const AlignedText& text, bool normalized) const;

  std::optional<int32_t> id_of(std::string_view content) const;
  int32_t largest_id() const;  // -1 without tokens

 private:
  struct Entry {
    std::u32string pattern;
    AddedToken token;
    int32_t id;
  };
  const Entry* longest_at(std::u32string_view text, bool normalized) const;

  std::vector<Entry> entries_;  // the longest pattern first
};

}  // namespace fx
