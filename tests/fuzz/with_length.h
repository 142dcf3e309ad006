// Fuzzers of safetensors files.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

// The same bytes with the right length in front, so that mutations of the header are not all lost on the length: the
// header goes up to the last bracket, the rest is data.
inline std::string with_length(std::string_view input) {
  const uint64_t length = input.rfind('}') + 1;
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(length >> (8 * i) & 0xff);
  return file.append(input);
}
