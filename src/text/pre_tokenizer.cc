#include "text/pre_tokenizer.h"

#include <array>

#include "core/error.h"
#include "text/json_file.h"
#include "text/split_words.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace fx {
namespace {

using nlohmann::json;

constexpr const char* kClipWords = R"('s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)";
constexpr const char* kClipSpecialWords =
    R"(<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)";

std::vector<AlignedText> split_at_whitespace(const AlignedText& text) {
  std::vector<AlignedText> words;
  for (size_t begin = 0, end; begin < text.size(); begin = end) {
    end = begin;
    while (end < text.size() && !is_whitespace(text.chars[end])) ++end;
    if (end > begin) words.push_back(text.slice(begin, end));
    if (end == begin) ++end;
  }
  return words;
}

enum class Prepend { always, first, never };

struct Metaspace {
  char32_t mark = U'\u2581';
  Prepend prepend = Prepend::always;
  bool split = true;

  std::vector<AlignedText> operator()(AlignedText text) const {
    for (char32_t& c : text.chars)
      if (c == U' ') c = mark;
    const bool wanted = prepend == Prepend::always || (prepend == Prepend::first && text.origin.front() == 0);
    if (wanted && text.chars.front() != mark) {
      text.chars.insert(text.chars.begin(), mark);
      text.origin.insert(text.origin.begin(), text.origin.front());
    }
    if (!split) return {text};
    std::vector<AlignedText> words;
    for (size_t begin = 0, end; begin < text.size(); begin = end) {
      end = std::min(text.chars.find(mark, begin + 1), text.size());
      words.push_back(text.slice(begin, end));
    }
    return words;
  }
};

Metaspace parse_metaspace(const json& config, const std::string& file) {
  Metaspace step;
  const std::u32string mark = decode_utf8(string_field(config, "replacement", file));
  check(mark.size() == 1, ErrorCode::bad_file, "{}: expected one character as \"replacement\", found {}", file,
        mark.size());
  step.mark = mark[0];
  const std::string scheme =
      config.contains("prepend_scheme") ? string_field(config, "prepend_scheme", file) : "always";
  check(scheme == "always" || scheme == "first" || scheme == "never", ErrorCode::bad_file,
        "{}: expected \"prepend_scheme\" to be always, first or never, found \"{}\"", file, scheme);
  step.prepend = scheme == "always" ? Prepend::always : scheme == "first" ? Prepend::first : Prepend::never;
  if (!bool_field(config, "add_prefix_space", file, true)) step.prepend = Prepend::never;
  step.split = bool_field(config, "split", file, true);
  return step;
}

// The printable character that stands for each byte: itself where that is one, else the next from U+0100 on.
const std::array<char32_t, 256>& byte_alphabet() {
  static const auto table = [] {
    std::array<char32_t, 256> chars{};
    char32_t next = 256;
    for (char32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      chars[b] = printable ? b : next++;
    }
    return chars;
  }();
  return table;
}

std::vector<AlignedText> byte_level(AlignedText text, bool add_prefix_space, bool split) {
  if (add_prefix_space && text.chars.front() != U' ') {
    text.chars.insert(text.chars.begin(), U' ');
    text.origin.insert(text.origin.begin(), text.origin.front());
  }
  std::vector<AlignedText> words;
  for (const AlignedText& word : split ? split_gpt2_words(text) : std::vector{text}) {
    AlignedText bytes;
    std::string utf8;
    for (size_t i = 0; i < word.size(); ++i) {
      utf8.clear();
      append_utf8(utf8, word.chars[i]);
      for (const char c : utf8) bytes.push_back(byte_alphabet()[static_cast<unsigned char>(c)], word.origin[i]);
    }
    words.push_back(std::move(bytes));
  }
  return words;
}

PreTokenizer parse_split(const json& config, const std::string& file) {
  const json& pattern = object_field(config, "pattern", file);
  const std::string regex = string_field(pattern, pattern.contains("Regex") ? "Regex" : "String", file);
  const std::string behavior = string_field(config, "behavior", file);
  const bool special = regex == kClipSpecialWords;
  check((special || regex == kClipWords) && behavior == "Removed" && bool_field(config, "invert", file),
        ErrorCode::unsupported,
        "{}: the pre-tokenizer Split with the pattern \"{}\" and behavior {}; known is that of CLIP", file, regex,
        behavior);
  return [special](const AlignedText& text) { return split_clip_words(text, special); };
}

PreTokenizer sequence(std::vector<PreTokenizer> steps) {
  return [steps = std::move(steps)](const AlignedText& text) {
    std::vector<AlignedText> pieces{text};
    for (const PreTokenizer& step : steps) {
      std::vector<AlignedText> next;
      for (const AlignedText& piece : pieces)
        for (AlignedText& word : step(piece)) next.push_back(std::move(word));
      pieces = std::move(next);
    }
    return pieces;
  };
}

}  // namespace

PreTokenizer clip_pre_tokenizer() {
  return sequence({[](const AlignedText& text) { return split_clip_words(text, true); },
                   [](const AlignedText& text) { return byte_level(text, false, true); }});
}

PreTokenizer t5_pre_tokenizer() { return sequence({split_at_whitespace, Metaspace{}}); }

PreTokenizer parse_pre_tokenizer(const json& config, const std::string& file) {
  if (config.is_null()) return [](const AlignedText& text) { return std::vector{text}; };
  const std::string type = string_field(config, "type", file);
  if (type == "Sequence") {
    std::vector<PreTokenizer> steps;
    for (const json& step : array_field(config, "pretokenizers", file))
      steps.push_back(parse_pre_tokenizer(step, file));
    return sequence(std::move(steps));
  }
  if (type == "WhitespaceSplit") return split_at_whitespace;
  if (type == "Metaspace") return parse_metaspace(config, file);
  if (type == "Split") return parse_split(config, file);
  if (type == "ByteLevel") {
    const bool prefix = bool_field(config, "add_prefix_space", file),
               split = bool_field(config, "use_regex", file, true);
    return [prefix, split](const AlignedText& text) { return byte_level(text, prefix, split); };
  }
  fail(ErrorCode::unsupported, "{}: the pre-tokenizer \"{}\"", file, type);
}

}  // namespace fx
