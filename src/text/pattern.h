// The patterns that the normalizers of published tokenizers replace: a literal, or a run of one kind of character.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json_fwd.hpp>

namespace fx {

class Pattern {
 public:
  // From the JSON of a Replace step: {"String": "..."} or {"Regex": "..."}. Of regular expressions we know one
  // character or \s, followed by nothing, +, {n} or {n,}, and plain text; Error(unsupported) for all others.
  static Pattern from_json(const nlohmann::json& json, const std::string& file);

  // The first match at or after `from`, as (begin, end).
  std::optional<std::pair<size_t, size_t>> find(std::u32string_view text, size_t from) const;

 private:
  bool matches(char32_t c) const;

  std::u32string literal_;  // empty: a run
  bool whitespace_ = false;
  char32_t character_ = 0;
  size_t shortest_ = 1;
  size_t longest_ = 1;
};

}  // namespace fx
