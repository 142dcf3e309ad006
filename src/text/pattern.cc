#include "text/pattern.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace fx {
namespace {

constexpr std::u32string_view kMeta = U"\\.+*?()[]{}|^$";

bool is_meta(char32_t c) { return kMeta.find(c) != std::u32string_view::npos; }

// Parses "{n}" or "{n,}" into (shortest, longest).
bool parse_count(std::u32string_view braces, size_t& shortest, size_t& longest) {
  if (braces.size() < 3 || braces.size() > 6 || braces.front() != U'{' || braces.back() != U'}') return false;
  braces = braces.substr(1, braces.size() - 2);
  const bool open = braces.back() == U',';
  if (open) braces.remove_suffix(1);
  if (braces.empty()) return false;
  shortest = 0;
  for (const char32_t c : braces) {
    if (c < U'0' || c > U'9') return false;
    shortest = shortest * 10 + (c - U'0');
  }
  longest = open ? std::numeric_limits<size_t>::max() : shortest;
  return shortest > 0;
}

}  // namespace

Pattern Pattern::from_json(const nlohmann::json& json, const std::string& file) {
  Pattern pattern;
  if (json.is_object() && json.contains("String") && json["String"].is_string()) {
    pattern.literal_ = decode_utf8(json["String"].get<std::string>());
    check(!pattern.literal_.empty(), ErrorCode::unsupported, "{}: a Replace step with an empty pattern", file);
    return pattern;
  }
  check(json.is_object() && json.contains("Regex") && json["Regex"].is_string(), ErrorCode::bad_file,
        "{}: expected {{\"String\": ...}} or {{\"Regex\": ...}} as a pattern, found {}", file, json.dump());
  const std::string source = json["Regex"].get<std::string>();
  const std::u32string regex = decode_utf8(source);
  size_t end = regex.size() > 1 && regex[0] == U'\\' ? 2 : 1;  // the one character or class
  bool known = !regex.empty() && (end == 2 ? regex[1] == U's' || is_meta(regex[1]) : !is_meta(regex[0]));
  pattern.whitespace_ = end == 2 && regex[1] == U's';
  pattern.character_ = known ? regex[end - 1] : 0;
  const std::u32string_view count = std::u32string_view(regex).substr(known ? end : 0);
  if (known && count == U"+") {
    pattern.longest_ = std::numeric_limits<size_t>::max();
  } else if (known && !count.empty() && !parse_count(count, pattern.shortest_, pattern.longest_)) {
    pattern.literal_ = regex;
    for (const char32_t c : regex) known = known && !is_meta(c);
  }
  check(known, ErrorCode::unsupported,
        "{}: the regular expression \"{}\" of a Replace step; known are plain text and one character or \\s with + or "
        "{{n,}}",
        file, source);
  return pattern;
}

bool Pattern::matches(char32_t c) const { return whitespace_ ? is_whitespace(c) : c == character_; }

std::optional<std::pair<size_t, size_t>> Pattern::find(std::u32string_view text, size_t from) const {
  if (!literal_.empty()) {
    const size_t begin = text.find(literal_, from);
    if (begin == std::u32string_view::npos) return std::nullopt;
    return std::pair{begin, begin + literal_.size()};
  }
  for (size_t begin = from; begin < text.size(); ++begin) {
    size_t end = begin;
    while (end < text.size() && end - begin < longest_ && matches(text[end])) ++end;
    if (end - begin >= shortest_) return std::pair{begin, end};
  }
  return std::nullopt;
}

}  // namespace fx
