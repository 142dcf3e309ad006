#include "text/added_tokens.h"

#include <algorithm>

#include "text/json_file.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace fx {

AddedToken parse_added_token(const nlohmann::json& json, const std::string& file) {
  AddedToken token;
  token.content = string_field(json, "content", file);
  token.special = bool_field(json, "special", file, false);
  token.single_word = bool_field(json, "single_word", file, false);
  token.lstrip = bool_field(json, "lstrip", file, false);
  token.rstrip = bool_field(json, "rstrip", file, false);
  token.normalized = bool_field(json, "normalized", file, !token.special);
  return token;
}

AddedTokens::AddedTokens(const std::vector<AddedToken>& tokens, const TokenModel& model, const Normalizer& normalizer) {
  int32_t next = model.size();
  for (const AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    AlignedText pattern;
    pattern.chars = decode_utf8(token.content);
    pattern.origin.resize(pattern.size());
    if (token.normalized) normalizer(pattern);
    const auto known = id_of(token.content);
    const auto in_model = known ? known : model.id_of(token.content);
    std::erase_if(entries_, [&](const Entry& entry) { return entry.token.content == token.content; });
    entries_.push_back({pattern.chars, token, in_model ? *in_model : next++});
  }
  std::stable_sort(entries_.begin(), entries_.end(),
                   [](const Entry& a, const Entry& b) { return a.pattern.size() > b.pattern.size(); });
}

std::optional<int32_t> AddedTokens::id_of(std::string_view content) const {
  for (const Entry& entry : entries_)
    if (entry.token.content == content) return entry.id;
  return std::nullopt;
}

int32_t AddedTokens::largest_id() const {
  int32_t largest = -1;
  for (const Entry& entry : entries_) largest = std::max(largest, entry.id);
  return largest;
}

const AddedTokens::Entry* AddedTokens::longest_at(std::u32string_view text, bool normalized) const {
  for (const Entry& entry : entries_)
    if (entry.token.normalized == normalized && !entry.pattern.empty() && text.starts_with(entry.pattern))
      return &entry;
  return nullptr;
}

std::vector<AddedTokens::Part> AddedTokens::split(const AlignedText& text, bool normalized) const {
  const std::u32string_view chars = text.chars;
  std::vector<Part> parts;
  size_t done = 0;
  const auto add = [&](size_t begin, size_t end, std::optional<int32_t> id) {
    if (begin < end) parts.push_back({text.slice(begin, end), id});
    done = std::max(done, end);
  };
  for (size_t at = 0; at < chars.size();) {
    const Entry* entry = longest_at(chars.substr(at), normalized);
    if (!entry) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at = at + entry->pattern.size();
    const bool touched = (begin > 0 && is_word(chars[begin - 1])) || (end < chars.size() && is_word(chars[end]));
    if (begin < done || (entry->token.single_word && touched)) continue;
    while (entry->token.lstrip && begin > done && is_whitespace(chars[begin - 1])) --begin;
    while (entry->token.rstrip && end < chars.size() && is_whitespace(chars[end])) ++end;
    add(done, begin, std::nullopt);
    add(begin, end, entry->id);
  }
  add(done, chars.size(), std::nullopt);
  return parts;
}

}  // namespace fx
