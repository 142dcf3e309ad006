#include "text/utf8.h"

#include "core/error.h"

namespace fx {
namespace {

// Bytes of the sequence that starts at `i`, or 0 if it is not valid UTF-8 (overlong forms and surrogates included).
int valid_sequence(std::string_view s, size_t i, char32_t& c) {
  const auto byte = [&](size_t k) { return static_cast<unsigned char>(s[k]); };
  const unsigned char lead = byte(i);
  if (lead < 0x80) {
    c = lead;
    return 1;
  }
  const int size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || i + size > s.size()) return 0;
  c = lead & (0xFF >> (size + 1));
  for (int k = 1; k < size; ++k) {
    if ((byte(i + k) & 0xC0) != 0x80) return 0;
    c = c << 6 | (byte(i + k) & 0x3F);
  }
  const bool valid = c >= (size == 2   ? 0x80u
                           : size == 3 ? 0x800u
                                       : 0x10000u) &&
                     c <= 0x10FFFF && !(c >= 0xD800 && c <= 0xDFFF);
  return valid ? size : 0;
}

}  // namespace

std::u32string decode_utf8(std::string_view utf8, std::vector<uint32_t>* offsets) {
  std::u32string text;
  text.reserve(utf8.size());
  for (size_t i = 0; i < utf8.size();) {
    char32_t c = 0;
    const int size = valid_sequence(utf8, i, c);
    check(size > 0, ErrorCode::invalid_argument,
          "expected UTF-8 text, found the byte 0x{:02X} at offset {} that does not start a valid character",
          static_cast<unsigned char>(utf8[i]), i);
    text.push_back(c);
    if (offsets) offsets->push_back(static_cast<uint32_t>(i));
    i += size;
  }
  return text;
}

int utf8_size(char32_t c) { return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4; }

void append_utf8(std::string& out, char32_t c) {
  const int size = utf8_size(c);
  if (size == 1) {
    out.push_back(static_cast<char>(c));
    return;
  }
  out.push_back(static_cast<char>((0xF00 >> size & 0xFF) | c >> (6 * (size - 1))));
  for (int shift = 6 * (size - 2); shift >= 0; shift -= 6) out.push_back(static_cast<char>(0x80 | (c >> shift & 0x3F)));
}

std::string encode_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : text) append_utf8(out, c);
  return out;
}

}  // namespace fx
