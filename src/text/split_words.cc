#include "text/split_words.h"

#include <array>
#include <string_view>

#include "text/unicode.h"

namespace fx {
namespace {

enum class Kind { space, letter, number, other };

Kind kind(char32_t c) {
  if (is_whitespace(c)) return Kind::space;
  return is_letter(c) ? Kind::letter : is_number(c) ? Kind::number : Kind::other;
}

size_t run_end(std::u32string_view text, size_t begin) {
  const Kind first = kind(text[begin]);
  size_t end = begin + 1;
  while (end < text.size() && kind(text[end]) == first) ++end;
  return end;
}

// Length of an English contraction at the start of `text`, or 0. The order is that of the alternatives.
size_t contraction(std::u32string_view text) {
  constexpr std::array<std::u32string_view, 7> kEndings{U"'s", U"'t", U"'re", U"'ve", U"'m", U"'ll", U"'d"};
  for (const auto ending : kEndings)
    if (text.starts_with(ending)) return ending.size();
  return 0;
}

}  // namespace

std::vector<AlignedText> split_clip_words(const AlignedText& text, bool special_tokens) {
  constexpr std::array<std::u32string_view, 2> kSpecial{U"<|startoftext|>", U"<|endoftext|>"};
  const std::u32string_view chars = text.chars;
  std::vector<AlignedText> words;
  for (size_t begin = 0; begin < chars.size();) {
    const std::u32string_view rest = chars.substr(begin);
    size_t length = contraction(rest);
    for (const auto token : kSpecial)
      if (special_tokens && rest.starts_with(token)) length = token.size();
    const Kind first = kind(chars[begin]);
    if (length == 0) length = first == Kind::number ? 1 : run_end(chars, begin) - begin;
    if (first != Kind::space) words.push_back(text.slice(begin, begin + length));
    begin += length;
  }
  return words;
}

std::vector<AlignedText> split_gpt2_words(const AlignedText& text) {
  const std::u32string_view chars = text.chars;
  std::vector<AlignedText> words;
  for (size_t begin = 0; begin < chars.size();) {
    size_t end = begin + contraction(chars.substr(begin));
    if (end == begin) {
      const bool spaced = chars[begin] == U' ' && begin + 1 < chars.size() && kind(chars[begin + 1]) != Kind::space;
      end = run_end(chars, spaced ? begin + 1 : begin);
      // White space before a word leaves its last character to that word.
      if (!spaced && kind(chars[begin]) == Kind::space && end < chars.size() && end - begin > 1) --end;
    }
    words.push_back(text.slice(begin, end));
    begin = end;
  }
  return words;
}

}  // namespace fx
