// Whatever the bytes of a file are, the safetensors reader either refuses them with an Error(bad_file) or returns
// tensors that fill the data of the file exactly.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/error.h"
#include "io/safetensors.h"

namespace {

void read_file(std::string_view file) {
  const auto bytes = std::as_bytes(std::span(file));
  try {
    const fx::SafetensorsHeader header = fx::parse_safetensors(bytes, "fuzz");
    uint64_t position = header.tensors.empty() ? file.size() : header.tensors.front().begin;
    for (const fx::TensorInfo& info : header.tensors) {
      const auto needed = static_cast<uint64_t>(info.shape.count()) * fx::size_of(info.dtype);
      if (info.begin != position || info.end - info.begin != needed) std::abort();
      position = info.end;
    }
    if (position != file.size()) std::abort();
  } catch (const fx::Error& error) {
    const std::string_view message = error.what();
    if (error.code() != fx::ErrorCode::bad_file || message.find('\n') != message.npos) std::abort();
  }
}

// The same bytes with the right length in front, so that mutations of the header are not all lost on the length: the
// header goes up to the last bracket, the rest is data.
std::string with_length(std::string_view input) {
  const uint64_t length = input.rfind('}') + 1;
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(length >> (8 * i) & 0xff);
  return file.append(input);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  read_file(input);
  read_file(with_length(input));
  return 0;
}
