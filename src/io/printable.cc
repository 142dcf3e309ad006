#include "io/printable.h"

#include <fmt/format.h>

#include <algorithm>

namespace fx {

namespace {

// Bytes of the UTF-8 character that `text` begins with; 0 when it begins with none.
size_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const size_t length = byte(0) < 0x80 ? 1 : byte(0) < 0xc2 ? 0 : byte(0) < 0xe0 ? 2 : byte(0) < 0xf0 ? 3 : 4;
  if (byte(0) > 0xf4 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  return length;
}

}  // namespace

std::string printable(std::string_view untrusted, size_t limit) {
  std::string text;
  while (!untrusted.empty()) {
    if (text.size() >= limit) return text + "...";
    const auto code = static_cast<unsigned char>(untrusted[0]);
    const size_t length = character_length(untrusted);
    const bool plain = length > 0 && code >= 0x20 && code != 0x7f;
    if (plain) text += untrusted.substr(0, length);
    else text += fmt::format("\\x{:02x}", code);
    untrusted.remove_prefix(std::max<size_t>(length, 1));
  }
  return text;
}

}  // namespace fx
