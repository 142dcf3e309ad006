#include "fold.h"

#include <utf8proc.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <utility>

#include "console.h"

namespace fx::cli {
namespace {

constexpr utf8proc_int32_t kFirstNonAscii = 0x80;
constexpr char kBox = '\x7f';

// What no decomposition of Unicode takes apart.
constexpr std::array<std::pair<utf8proc_int32_t, const char*>, 29> kSpelt = {{
    {U'ß', "ss"}, {U'ẞ', "SS"}, {U'æ', "ae"}, {U'Æ', "AE"}, {U'œ', "oe"}, {U'Œ', "OE"}, {U'ø', "o"},  {U'Ø', "O"},
    {U'ł', "l"},  {U'Ł', "L"},  {U'đ', "d"},  {U'Đ', "D"},  {U'ð', "d"},  {U'Ð', "D"},  {U'þ', "th"}, {U'Þ', "TH"},
    {U'ħ', "h"},  {U'Ħ', "H"},  {U'ı', "i"},  {U'‘', "'"},  {U'’', "'"},  {U'“', "\""}, {U'”', "\""}, {U'„', "\""},
    {U'–', "-"},  {U'—', "-"},  {U'‐', "-"},  {U'−', "-"},  {U'×', "x"},
}};

std::string spelt(utf8proc_int32_t code) {
  if (code < kFirstNonAscii) return {code < 32 ? ' ' : static_cast<char>(code)};
  for (const auto& [letter, ascii] : kSpelt) {
    if (letter == code) return ascii;
  }
  return {kBox};
}

}  // namespace

std::string folded(const std::string& text) {
  const std::string utf8 = valid_utf8(text);
  utf8proc_uint8_t* parts = nullptr;
  // Compatibility decomposition, marks dropped: "é" is "e", a full-width "Ａ" is "A".
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_STRIPMARK);
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(utf8.data()),
                                             static_cast<utf8proc_ssize_t>(utf8.size()), &parts, options);
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(parts, &std::free);
  std::string letters;
  for (utf8proc_ssize_t i = 0, used = 0; i < size; i += used) {
    utf8proc_int32_t code = 0;
    used = utf8proc_iterate(parts + i, size - i, &code);
    if (used <= 0) break;
    letters += spelt(code);
  }
  return letters;
}

}  // namespace fx::cli
