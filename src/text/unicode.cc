#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

namespace fx {
namespace {

struct Range {
  char32_t first, last;
};

struct Shift {
  char32_t first, last;
  int32_t delta;
};

// What the tokenizers library (Oniguruma with Unicode 16, Rust with Unicode 17) knows beyond utf8proc's Unicode 15.
constexpr std::array<Range, 22> kNewLetters{
    {{0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3}, {0x10D4A, 0x10D65},
     {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x11380, 0x11389}, {0x1138B, 0x1138B}, {0x1138E, 0x1138E},
     {0x11390, 0x113B5}, {0x113B7, 0x113B7}, {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0},
     {0x13460, 0x143FA}, {0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED},
     {0x1E5F0, 0x1E5F0}, {0x2EBF0, 0x2EE5D}}};
constexpr std::array<Range, 7> kNewNumbers{{{0x10D40, 0x10D49},
                                            {0x116D0, 0x116E3},
                                            {0x11BF0, 0x11BF9},
                                            {0x16130, 0x16139},
                                            {0x16D70, 0x16D79},
                                            {0x1CCF0, 0x1CCF9},
                                            {0x1E5F1, 0x1E5FA}}};
constexpr std::array<Shift, 10> kNewLowerCase{{{0x1C89, 0x1C89, 1},
                                               {0xA7CB, 0xA7CB, 0x264 - 0xA7CB},
                                               {0xA7CC, 0xA7CC, 1},
                                               {0xA7CE, 0xA7CE, 1},
                                               {0xA7D2, 0xA7D2, 1},
                                               {0xA7D4, 0xA7D4, 1},
                                               {0xA7DA, 0xA7DA, 1},
                                               {0xA7DC, 0xA7DC, 0x19B - 0xA7DC},
                                               {0x10D50, 0x10D65, 0x20},
                                               {0x16EA0, 0x16EB8, 0x1B}}};

// Combining marks, for the bounds of grapheme clusters (unicode-segmentation with Unicode 17).
constexpr std::array<Range, 3> kNewMarks{{{0x0897, 0x0897}, {0x1ACF, 0x1ADD}, {0x1AE0, 0x1AEB}}};

template <class Table>
auto find_range(const Table& table, char32_t c) {
  return std::find_if(table.begin(), table.end(), [c](const auto& r) { return r.first <= c && c <= r.last; });
}

char major_category(char32_t c) { return utf8proc_category_string(static_cast<utf8proc_int32_t>(c))[0]; }

}  // namespace

bool is_letter(char32_t c) { return major_category(c) == 'L' || find_range(kNewLetters, c) != kNewLetters.end(); }

bool is_number(char32_t c) { return major_category(c) == 'N' || find_range(kNewNumbers, c) != kNewNumbers.end(); }

bool is_whitespace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_word(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: break;
  }
  const bool circled_letter = (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
                              (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
  const bool recent = find_range(kNewNumbers, c) != kNewNumbers.end() || find_range(kNewMarks, c) != kNewMarks.end();
  return is_letter(c) || circled_letter || recent || c == 0x200C || c == 0x200D;
}

std::u32string_view lower_case(char32_t c, char32_t (&buffer)[2]) {
  if (c == 0x130) {
    buffer[0] = U'i';
    buffer[1] = 0x307;
    return {buffer, 2};
  }
  const auto shift = find_range(kNewLowerCase, c);
  buffer[0] = shift != kNewLowerCase.end() ? static_cast<char32_t>(static_cast<int32_t>(c) + shift->delta)
                                           : static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
  return {buffer, 1};
}

size_t grapheme_end(std::u32string_view text, size_t begin) {
  const auto known = [](char32_t c) {  // utf8proc takes the new marks for unassigned: show it U+0301 instead
    return static_cast<utf8proc_int32_t>(find_range(kNewMarks, c) != kNewMarks.end() ? 0x301 : c);
  };
  utf8proc_int32_t state = 0;
  size_t end = begin + 1;
  while (end < text.size() && !utf8proc_grapheme_break_stateful(known(text[end - 1]), known(text[end]), &state)) ++end;
  return end;
}

}  // namespace fx
