// The header of a safetensors file: JSON to TensorInfo, with every refusal.
//
// A streaming (SAX) reader, for two reasons: the tree that a JSON library builds drops a name that comes twice without
// a word, and files with thousands of tensors need no tree at all.
#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "core/error.h"
#include "io/printable.h"
#include "io/safetensors.h"
#include "io/safetensors_foreign.h"

namespace fx {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the original reader
constexpr size_t kLengthBytes = 8;

struct DTypeName {
  std::string_view name;
  DType dtype;
};
constexpr DTypeName kDTypeNames[] = {{"F32", DType::f32}, {"BF16", DType::bf16},       {"F16", DType::f16},
                                     {"F64", DType::f64}, {"F8_E4M3", DType::f8_e4m3}, {"F8_E5M2", DType::f8_e5m2},
                                     {"I64", DType::i64}, {"I32", DType::i32},         {"I16", DType::i16},
                                     {"I8", DType::i8},   {"U64", DType::u64},         {"U32", DType::u32},
                                     {"U16", DType::u16}, {"U8", DType::u8},           {"BOOL", DType::boolean}};

class HeaderReader {
 public:
  HeaderReader(const std::string& label, SafetensorsHeader& header) : label_(label), header_(header) {}

  // The events of nlohmann's SAX interface.
  bool null() { return scalar("null"); }
  bool boolean(bool) { return scalar("a boolean"); }
  bool number_integer(int64_t value) { return scalar(fmt::format("{}", value)); }  // only negative ones come here
  bool number_float(double, const std::string& text) { return scalar(text); }
  bool binary(std::vector<uint8_t>&) { return scalar("binary data"); }
  bool number_unsigned(uint64_t value);
  bool string(std::string& value);
  bool key(std::string& value);
  bool start_object(size_t);
  bool end_object();
  bool start_array(size_t);
  bool end_array();
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception& error) {
    refuse("the header is not valid JSON (at its byte {}): {}", position, printable(error.what()));
  }

 private:
  enum class Place { outside, root, metadata, tensor, shape, offsets, skipped };

  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    constexpr size_t kLongest = 500;
    fail(ErrorCode::bad_file, "{}: {}", label_, printable(fmt::format(format, std::forward<Args>(args)...), kLongest));
  }
  [[noreturn]] void refuse_value(std::string_view found) const;
  bool scalar(std::string_view found);
  void finish_tensor();

  const std::string& label_;
  SafetensorsHeader& header_;
  Place place_ = Place::outside;
  int skipped_depth_ = 0;  // of brackets below a field that we do not know
  std::unordered_set<std::string> names_;
  std::string name_;   // of the tensor that is being read
  std::string field_;  // the last key inside of it, or of the metadata
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  DType dtype_ = DType::f32;
  std::vector<int64_t> dims_;
  std::vector<uint64_t> offsets_;
};

void HeaderReader::refuse_value(std::string_view found) const {
  switch (place_) {
    case Place::outside: refuse("the header must be a JSON object, found {}", found);
    case Place::root:
      if (name_ == "__metadata__") refuse("__metadata__ must map strings to strings, found {}", found);
      refuse("tensor '{}': expected an object with dtype, shape and data_offsets, found {}", name_, found);
    case Place::metadata: refuse("__metadata__ must map strings to strings, found {} for '{}'", found, field_);
    case Place::shape: refuse("tensor '{}': a size must be a whole number of 0 or more, found {}", name_, found);
    case Place::offsets:
      refuse("tensor '{}': a data offset must be a whole number of 0 or more, found {}", name_, found);
    default: refuse("tensor '{}': unexpected value for {}: {}", name_, field_, found);
  }
}

bool HeaderReader::scalar(std::string_view found) {
  const bool unknown_field =
      place_ == Place::tensor && field_ != "dtype" && field_ != "shape" && field_ != "data_offsets";
  if (place_ != Place::skipped && !unknown_field) refuse_value(found);
  return true;
}

bool HeaderReader::number_unsigned(uint64_t value) {
  if (place_ == Place::offsets) {
    offsets_.push_back(value);
  } else if (place_ == Place::shape) {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) refuse_value(fmt::format("{}", value));
    if (dims_.size() == kMaxRank) {
      refuse("tensor '{}': it has more than the {} dimensions that fluxswap can hold", name_, kMaxRank);
    }
    dims_.push_back(static_cast<int64_t>(value));
  } else {
    return scalar(fmt::format("{}", value));
  }
  return true;
}

bool HeaderReader::string(std::string& value) {
  if (place_ == Place::metadata) {
    header_.metadata.emplace(field_, value);
  } else if (place_ == Place::tensor && field_ == "dtype") {
    const auto* found = std::ranges::find(kDTypeNames, value, &DTypeName::name);
    if (found == std::end(kDTypeNames)) {
      refuse("tensor '{}': unknown dtype '{}'; expected F32, F16, BF16, F64, F8_E4M3, F8_E5M2, an integer type or BOOL",
             name_, value);
    }
    dtype_ = found->dtype;
  } else {
    return scalar("a string");
  }
  return true;
}

bool HeaderReader::key(std::string& value) {
  if (place_ == Place::root) {
    if (!names_.insert(value).second) refuse("the name '{}' comes twice in the header", value);
    name_ = value;
  } else if (place_ == Place::metadata) {
    if (header_.metadata.contains(value)) refuse("the key '{}' comes twice in __metadata__", value);
    field_ = value;
  } else if (place_ == Place::tensor) {
    field_ = value;
    bool unknown = true;
    bool& seen = value == "dtype"          ? has_dtype_
                 : value == "shape"        ? has_shape_
                 : value == "data_offsets" ? has_offsets_
                                           : unknown;
    if (&seen != &unknown && seen) refuse("tensor '{}': {} is given twice", name_, value);
    seen = true;
  }
  return true;
}

bool HeaderReader::start_object(size_t) {
  if (place_ == Place::outside) {
    place_ = Place::root;
  } else if (place_ == Place::root) {
    place_ = name_ == "__metadata__" ? Place::metadata : Place::tensor;
    has_dtype_ = has_shape_ = has_offsets_ = false;
    dims_.clear();
    offsets_.clear();
  } else {
    scalar("an object");
    place_ = Place::skipped;
    ++skipped_depth_;
  }
  return true;
}

bool HeaderReader::start_array(size_t) {
  if (place_ == Place::tensor && field_ == "shape") {
    place_ = Place::shape;
  } else if (place_ == Place::tensor && field_ == "data_offsets") {
    place_ = Place::offsets;
  } else {
    scalar("an array");
    place_ = Place::skipped;
    ++skipped_depth_;
  }
  return true;
}

bool HeaderReader::end_object() {
  if (place_ == Place::skipped) return end_array();
  if (place_ == Place::tensor) finish_tensor();
  place_ = place_ == Place::root ? Place::outside : Place::root;
  return true;
}

bool HeaderReader::end_array() {
  if (place_ == Place::skipped && --skipped_depth_ > 0) return true;
  place_ = Place::tensor;
  return true;
}

void HeaderReader::finish_tensor() {
  const char* missing = !has_dtype_ ? "dtype" : !has_shape_ ? "shape" : !has_offsets_ ? "data_offsets" : nullptr;
  if (missing) refuse("tensor '{}': {} is missing", name_, missing);
  if (offsets_.size() != 2) refuse("tensor '{}': data_offsets must be two numbers, found {}", name_, offsets_.size());
  const uint64_t begin = offsets_[0], end = offsets_[1];
  if (begin > end) refuse("tensor '{}': its data begin at {}, after their end at {}", name_, begin, end);
  uint64_t bytes = size_of(dtype_);
  // A size of zero makes the product zero, whatever the other sizes; it must come first to do so.
  if (std::ranges::find(dims_, 0) != dims_.end()) bytes = 0;
  for (const int64_t dim : dims_) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(dim), &bytes)) {
      refuse("tensor '{}': its size {} does not fit 64 bits", name_, fmt::format("({})", fmt::join(dims_, ", ")));
    }
  }
  const Shape shape(dims_);
  if (bytes != end - begin) {
    refuse("tensor '{}': {} {} needs {} bytes, but data_offsets give {}", name_, to_string(shape), name(dtype_), bytes,
           end - begin);
  }
  header_.tensors.push_back({name_, dtype_, shape, begin, end, 0});
}

// The data of all tensors must fill the data part exactly: no gap, no overlap, nothing before or after.
void check_layout(std::vector<TensorInfo>& tensors, uint64_t data_bytes, const std::string& label) {
  std::ranges::stable_sort(tensors, {}, [](const TensorInfo& info) { return std::pair(info.begin, info.end); });
  uint64_t expected = 0;
  const std::string* previous = nullptr;
  for (const TensorInfo& info : tensors) {
    if (info.end > data_bytes) {
      fail(ErrorCode::bad_file,
           "{}: tensor '{}': its data end at byte {}, but the file has only {} bytes of data; it is cut off, so "
           "download "
           "it again",
           label, printable(info.name), info.end, data_bytes);
    }
    if (info.begin < expected) {
      fail(ErrorCode::bad_file, "{}: the data of the tensors '{}' and '{}' overlap", label, printable(*previous),
           printable(info.name));
    }
    if (info.begin > expected) {
      fail(ErrorCode::bad_file, "{}: {} bytes before the data of tensor '{}' belong to no tensor", label,
           info.begin - expected, printable(info.name));
    }
    expected = info.end;
    previous = &info.name;
  }
  check(expected == data_bytes, ErrorCode::bad_file, "{}: {} bytes after the last tensor belong to no tensor", label,
        data_bytes - expected);
}

uint64_t read_length(std::span<const std::byte> file) {
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= std::to_integer<uint64_t>(file[i]) << (8 * i);
  return length;
}

}  // namespace

std::string_view safetensors_name(DType dtype) {
  return std::ranges::find(kDTypeNames, dtype, &DTypeName::dtype)->name;
}

SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& label) {
  const bool plausible =
      file.size() > kLengthBytes && file[kLengthBytes] == std::byte{'{'} && read_length(file) <= kMaxHeaderBytes;
  if (!plausible) refuse_foreign_file(file, label);
  check(file.size() >= kLengthBytes, ErrorCode::bad_file,
        "{}: expected a safetensors file, which has 8 bytes or more, found {}", label, file.size());
  const uint64_t length = read_length(file);
  check(length <= kMaxHeaderBytes, ErrorCode::bad_file,
        "{}: this is not a safetensors file: the header would have {} bytes, the limit is {}", label, length,
        kMaxHeaderBytes);
  check(length <= file.size() - kLengthBytes, ErrorCode::bad_file,
        "{}: the header should have {} bytes, but only {} follow; this is not a safetensors file, or it is cut off",
        label, length, file.size() - kLengthBytes);
  check(length > 0 && file[kLengthBytes] == std::byte{'{'}, ErrorCode::bad_file,
        "{}: this is not a safetensors file: the header does not begin with '{{'", label);
  const auto text = file.subspan(kLengthBytes, length);
  // The JSON library takes a NUL for the end of the text and would not look at what follows.
  check(std::ranges::find(text, std::byte{0}) == text.end(), ErrorCode::bad_file, "{}: the header has a NUL byte",
        label);

  SafetensorsHeader header;
  HeaderReader reader(label, header);
  const auto* begin = reinterpret_cast<const char*>(text.data());
  nlohmann::json::sax_parse(begin, begin + text.size(), &reader);
  check_layout(header.tensors, file.size() - kLengthBytes - length, label);
  for (TensorInfo& info : header.tensors) {
    info.begin += kLengthBytes + length;
    info.end += kLengthBytes + length;
  }
  return header;
}

}  // namespace fx
