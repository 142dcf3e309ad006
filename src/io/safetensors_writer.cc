#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/safetensors.h"

namespace fx {
namespace {

using NamedTensor = std::pair<const std::string, Tensor>;

std::string quoted(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::type_error&) {
    fail(ErrorCode::invalid_argument, "cannot write a name or metadata that is not UTF-8: {}",
         nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
  }
}

std::string metadata_entry(const std::map<std::string, std::string>& metadata) {
  std::string text = "\"__metadata__\":{";
  for (const auto& [key, value] : metadata) {
    if (text.back() != '{') text += ',';
    text += quoted(key) + ':' + quoted(value);
  }
  return text + '}';
}

// The JSON, padded with spaces so that the data begin on a multiple of 8 bytes.
std::string make_header(const std::vector<const NamedTensor*>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  std::string text = "{";
  if (!metadata.empty()) text += metadata_entry(metadata);
  uint64_t begin = 0;
  for (const NamedTensor* named : tensors) {
    const auto& [name, tensor] = *named;
    const uint64_t end = begin + static_cast<uint64_t>(tensor.bytes());
    if (text.size() > 1) text += ',';
    text += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", quoted(name),
                        safetensors_name(tensor.dtype()), fmt::join(tensor.shape().dims(), ","), begin, end);
    begin = end;
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const NamedTensor*> ordered;
  for (const NamedTensor& named : tensors) {
    const auto& [name, tensor] = named;
    check(name != "__metadata__", ErrorCode::invalid_argument, "'__metadata__' cannot be the name of a tensor");
    check(tensor.defined() && tensor.contiguous(), ErrorCode::invalid_argument,
          "cannot write tensor '{}': expected a contiguous one, found {}", name, tensor.defined() ? "strides" : "none");
    ordered.push_back(&named);
  }
  std::ranges::stable_sort(ordered, std::greater{},
                           [](const NamedTensor* named) { return size_of(named->second.dtype()); });

  const std::string header = make_header(ordered, metadata);
  std::string length;
  for (int i = 0; i < 8; ++i) length += static_cast<char>(header.size() >> (8 * i) & 0xff);
  AtomicFile file(path);
  file.write(length);
  file.write(header);
  for (const NamedTensor* named : ordered) {
    const Tensor& tensor = named->second;
    file.write(std::span(tensor.data<const std::byte>(), static_cast<size_t>(tensor.bytes())));
  }
  file.commit();
}

}  // namespace fx
