// Safetensors files made by hand, good and bad.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace fx::test {

inline std::string length_prefix(uint64_t length) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(length >> (8 * i) & 0xff);
  return bytes;
}

inline std::string safetensors_file(std::string_view header, std::string_view data) {
  return length_prefix(header.size()) + std::string(header) + std::string(data);
}

inline std::span<const std::byte> as_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

// Four tensors, one of them empty and one a scalar, in another order than their data; the f32 data are unaligned.
inline std::string valid_file() {
  return safetensors_file(R"({"__metadata__":{"format":"pt","title":"\u00e4 \"b\""},)"
                          R"("late":{"dtype":"F32","shape":[2,2],"data_offsets":[3,19]},)"
                          R"("bytes":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                          R"("none":{"dtype":"BF16","shape":[4,0,7],"data_offsets":[3,3]},)"
                          R"("scalar":{"dtype":"I64","shape":[],"data_offsets":[19,27]}}   )",
                          std::string_view("\x01\x02\x03"
                                           "\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40\x00\x00\x80\x40"
                                           "\x08\x00\x00\x00\x00\x00\x00\x00",
                                           27));
}

}  // namespace fx::test
