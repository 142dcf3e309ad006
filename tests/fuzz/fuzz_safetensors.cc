// Whatever the bytes of a file are, the safetensors reader either refuses them with an Error(bad_file) or returns
// tensors that fill the data of the file exactly.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/error.h"
#include "fuzz/with_length.h"
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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  read_file(input);
  read_file(with_length(input));
  return 0;
}
