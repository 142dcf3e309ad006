#include "text/normalizer.h"

#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "text/json_file.h"
#include "text/normal_form.h"
#include "text/pattern.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace fx {
namespace {

using nlohmann::json;

void lower(AlignedText& text) {
  AlignedText result;
  char32_t buffer[2];
  for (size_t i = 0; i < text.size(); ++i)
    for (const char32_t c : lower_case(text.chars[i], buffer)) result.push_back(c, text.origin[i]);
  text = std::move(result);
}

void strip(AlignedText& text, bool left, bool right) {
  size_t begin = 0;
  size_t end = text.size();
  while (left && begin < end && is_whitespace(text.chars[begin])) ++begin;
  while (right && begin < end && is_whitespace(text.chars[end - 1])) --end;
  text = text.slice(begin, end);
}

void replace(AlignedText& text, const Pattern& pattern, const std::u32string& content) {
  AlignedText result;
  size_t done = 0;
  const auto copy_to = [&](size_t end) {
    for (; done < end; ++done) result.push_back(text.chars[done], text.origin[done]);
  };
  while (const auto match = pattern.find(text.chars, done)) {
    copy_to(match->first);
    for (const char32_t c : content) result.push_back(c, text.origin[match->second - 1]);
    done = match->second;
  }
  copy_to(text.size());
  text = std::move(result);
}

void prepend(AlignedText& text, const std::u32string& prefix) {
  if (text.empty()) return;
  text.chars.insert(0, prefix);
  text.origin.insert(text.origin.begin(), prefix.size(), text.origin.front());
}

Normalizer form(NormalForm f) {
  return [f](AlignedText& text) { normalize(text.chars, text.origin, f); };
}

Normalizer sequence(std::vector<Normalizer> steps) {
  return [steps = std::move(steps)](AlignedText& text) {
    for (const Normalizer& step : steps) step(text);
  };
}

}  // namespace

Normalizer charsmap_normalizer(Charsmap map) {
  return [map = std::make_shared<const Charsmap>(std::move(map))](AlignedText& text) { map->apply(text); };
}

Normalizer clip_normalizer() {
  const Pattern spaces = Pattern::from_json(json{{"Regex", "\\s+"}}, "CLIP");
  return sequence({form(NormalForm::nfc), [spaces](AlignedText& text) { replace(text, spaces, U" "); }, lower});
}

Normalizer parse_normalizer(const json& config, const std::string& file) {
  if (config.is_null()) return [](AlignedText&) {};
  const std::string type = string_field(config, "type", file);
  if (type == "Sequence") {
    std::vector<Normalizer> steps;
    for (const json& step : array_field(config, "normalizers", file)) steps.push_back(parse_normalizer(step, file));
    return sequence(std::move(steps));
  }
  if (type == "NFC") return form(NormalForm::nfc);
  if (type == "NFD") return form(NormalForm::nfd);
  if (type == "NFKC") return form(NormalForm::nfkc);
  if (type == "NFKD") return form(NormalForm::nfkd);
  if (type == "Lowercase") return lower;
  if (type == "Strip") {
    const bool left = bool_field(config, "strip_left", file), right = bool_field(config, "strip_right", file);
    return [left, right](AlignedText& text) { strip(text, left, right); };
  }
  if (type == "Replace") {
    const Pattern pattern = Pattern::from_json(config.value("pattern", json()), file);
    const std::u32string content = decode_utf8(string_field(config, "content", file));
    return [pattern, content](AlignedText& text) { replace(text, pattern, content); };
  }
  if (type == "Prepend") {
    const std::u32string prefix = decode_utf8(string_field(config, "prepend", file));
    return [prefix](AlignedText& text) { prepend(text, prefix); };
  }
  if (type == "Precompiled")
    return charsmap_normalizer(Charsmap(decode_base64(string_field(config, "precompiled_charsmap", file), file), file));
  fail(ErrorCode::unsupported, "{}: the normalizer \"{}\"", file, type);
}

}  // namespace fx
