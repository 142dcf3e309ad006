#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/safetensors.h"

namespace fx {
namespace {

using Entry = SafetensorsWriter::Entry;

uint64_t bytes_of(const Entry& entry) { return static_cast<uint64_t>(entry.shape.count()) * size_of(entry.dtype); }

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
std::string make_header(const std::vector<Entry>& entries, const std::map<std::string, std::string>& metadata) {
  std::string text = "{";
  if (!metadata.empty()) text += metadata_entry(metadata);
  uint64_t begin = 0;
  for (const Entry& entry : entries) {
    const uint64_t end = begin + bytes_of(entry);
    if (text.size() > 1) text += ',';
    text += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", quoted(entry.name),
                        safetensors_name(entry.dtype), fmt::join(entry.shape.dims(), ","), begin, end);
    begin = end;
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<Entry> entries,
                                     const std::map<std::string, std::string>& metadata)
    : entries_(std::move(entries)) {
  std::set<std::string_view> names = {"__metadata__"};
  for (const Entry& entry : entries_) {
    check(names.insert(entry.name).second, ErrorCode::invalid_argument, "'{}' cannot be the name of {} tensor",
          entry.name, entry.name == "__metadata__" ? "a" : "a second");
  }
  const std::string header = make_header(entries_, metadata);
  std::string length;
  for (int i = 0; i < 8; ++i) length += static_cast<char>(header.size() >> (8 * i) & 0xff);
  file_ = std::make_unique<AtomicFile>(path);
  file_->write(length);
  file_->write(header);
}

SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::write(std::span<const std::byte> values) {
  check(next_ < entries_.size() && values.size() == bytes_of(entries_[next_]), ErrorCode::internal,
        "tensor {} of {} was given {} bytes", next_ + 1, entries_.size(), values.size());
  ++next_;
  file_->write(values);
}

void SafetensorsWriter::commit() {
  check(next_ == entries_.size(), ErrorCode::internal, "{} of {} tensors were written", next_, entries_.size());
  file_->commit();
}

void write_safetensors(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<Entry> entries;
  for (const auto& [name, tensor] : tensors) {
    check(tensor.defined() && tensor.contiguous(), ErrorCode::invalid_argument,
          "cannot write tensor '{}': expected a contiguous one, found {}", name, tensor.defined() ? "strides" : "none");
    entries.push_back({name, tensor.dtype(), tensor.shape()});
  }
  std::ranges::stable_sort(entries, std::greater{}, [](const Entry& entry) { return size_of(entry.dtype); });
  SafetensorsWriter writer(path, entries, metadata);
  for (const Entry& entry : entries) {
    const Tensor& tensor = tensors.at(entry.name);
    writer.write(std::span(tensor.data<const std::byte>(), static_cast<size_t>(tensor.bytes())));
  }
  writer.commit();
}

}  // namespace fx
