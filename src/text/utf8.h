// UTF-8 in and out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fx {

// Decodes UTF-8. `offsets`, if given, receives the byte offset of every code point.
// Throws Error(invalid_argument) that names the offset of the first byte that is not valid UTF-8.
std::u32string decode_utf8(std::string_view utf8, std::vector<uint32_t>* offsets = nullptr);
std::string encode_utf8(std::u32string_view text);
void append_utf8(std::string& out, char32_t c);
int utf8_size(char32_t c);

}  // namespace fx
