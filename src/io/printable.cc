#include "io/printable.h"

#include <fmt/format.h>

namespace fx {

std::string printable(std::string_view untrusted, size_t limit) {
  std::string text;
  for (const char letter : untrusted) {
    const auto code = static_cast<unsigned char>(letter);
    const bool starts_character = (code & 0xc0) != 0x80;  // never cut a UTF-8 character in two
    if (text.size() >= limit && starts_character) return text + "...";
    if (code < 0x20 || code == 0x7f) {
      text += fmt::format("\\x{:02x}", code);
    } else {
      text += letter;
    }
  }
  return text;
}

}  // namespace fx
