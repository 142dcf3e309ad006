#include "io/png_text.h"

#include <cstdint>

#include "core/error.h"

namespace fx {
namespace {

constexpr uint32_t kInvalid = 0xffffffff;

// Decodes one character at `position` and moves it behind. Refuses overlong forms, surrogates and values over U+10FFFF.
uint32_t next_character(std::string_view text, size_t& position) {
  const auto first = static_cast<uint8_t>(text[position++]);
  if (first < 0x80) return first;
  const int following = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
  if (first < 0xc2 || first > 0xf4) return kInvalid;
  uint32_t code = first & (0x3fu >> following);
  for (int i = 0; i < following; ++i) {
    if (position == text.size() || (static_cast<uint8_t>(text[position]) & 0xc0) != 0x80) return kInvalid;
    code = code << 6 | (static_cast<uint8_t>(text[position++]) & 0x3fu);
  }
  constexpr uint32_t kSmallest[] = {0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  return code < kSmallest[following] || code > 0x10ffff || surrogate ? kInvalid : code;
}

}  // namespace

std::optional<std::string> utf8_to_latin1(std::string_view utf8, std::string_view what) {
  std::string latin1;
  bool fits = true;
  for (size_t position = 0; position < utf8.size();) {
    const size_t begin = position;
    const uint32_t code = next_character(utf8, position);
    check(code != kInvalid, ErrorCode::invalid_argument, "{}: expected UTF-8, found another encoding at byte {}", what,
          begin);
    fits = fits && code <= 0xff;
    latin1 += static_cast<char>(code);
  }
  if (!fits) return std::nullopt;
  return latin1;
}

std::string latin1_to_utf8(std::string_view latin1) {
  std::string utf8;
  for (const char letter : latin1) {
    const auto code = static_cast<uint8_t>(letter);
    if (code < 0x80) {
      utf8 += letter;
    } else {
      utf8 += static_cast<char>(0xc0 | code >> 6);
      utf8 += static_cast<char>(0x80 | (code & 0x3f));
    }
  }
  return utf8;
}

}  // namespace fx
