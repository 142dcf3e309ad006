#include "text/json_file.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <string_view>

#include "core/error.h"

namespace fx {
namespace {

using nlohmann::json;

// Powers of ten as a compiler rounds them.
const std::array<double, 309>& powers_of_ten() {
  static const auto table = [] {
    std::array<double, 309> powers{};
    for (int e = 0; e < 309; ++e) powers[e] = std::strtod(fmt::format("1e{}", e).c_str(), nullptr);
    return powers;
  }();
  return table;
}

double scaled(uint64_t digits, int exponent) {
  double f = static_cast<double>(digits);
  for (; exponent < -308 && f != 0; exponent += 308) f /= 1e308;
  if (f == 0) return f;
  if (exponent > 308) return std::numeric_limits<double>::infinity();
  return exponent >= 0 ? f * powers_of_ten()[exponent] : f / powers_of_ten()[-exponent];
}

// A JSON number, rounded twice: the first 19 or 20 digits as an integer to double, then times a power of ten.
double parse_number(std::string_view text) {
  const bool negative = text.front() == '-';
  if (negative) text.remove_prefix(1);
  uint64_t digits = 0;
  int exponent = 0;
  bool fraction = false, full = false;
  size_t i = 0;
  for (; i < text.size() && text[i] != 'e' && text[i] != 'E'; ++i) {
    if (text[i] == '.') {
      fraction = true;
      continue;
    }
    const auto digit = static_cast<uint64_t>(text[i] - '0');
    full = full || digits > (std::numeric_limits<uint64_t>::max() - digit) / 10;
    if (!full) digits = digits * 10 + digit;
    exponent += full ? !fraction : -static_cast<int>(fraction);
  }
  if (i < text.size()) {
    const long written = std::strtol(std::string(text.substr(i + 1)).c_str(), nullptr, 10);
    exponent += static_cast<int>(std::min(100000L, std::max(-100000L, written)));
  }
  const double f = scaled(digits, exponent);
  return negative ? -f : f;
}

constexpr int kDeepest = 64;  // the readers of some sections recurse

class Builder : public nlohmann::detail::json_sax_dom_parser<json> {
 public:
  Builder(json& result, const std::string& file) : json_sax_dom_parser(result), file_(file) {}

  bool number_float(double, const std::string& text) {
    return json_sax_dom_parser::number_float(parse_number(text), text);
  }
  bool start_object(size_t size) { return enter() && json_sax_dom_parser::start_object(size); }
  bool start_array(size_t size) { return enter() && json_sax_dom_parser::start_array(size); }
  bool end_object() { return --depth_, json_sax_dom_parser::end_object(); }
  bool end_array() { return --depth_, json_sax_dom_parser::end_array(); }

 private:
  bool enter() {
    check(++depth_ <= kDeepest, ErrorCode::bad_file, "{}: expected at most {} levels of JSON, found more", file_,
          kDeepest);
    return true;
  }

  const std::string& file_;
  int depth_ = 0;
};

const json& field(const json& object, const char* key, const std::string& file, const char* type) {
  check(object.is_object() && object.contains(key), ErrorCode::bad_file, "{}: expected {} \"{}\", found none", file,
        type, key);
  return object[key];
}

void check_type(bool right, const json& value, const char* key, const std::string& file, const char* type) {
  check(right, ErrorCode::bad_file, "{}: expected \"{}\" to be {}, found {}", file, key, type, value.type_name());
}

}  // namespace

std::string read_text_file(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  check(status.type() != std::filesystem::file_type::not_found, ErrorCode::bad_file, "{}: expected a file, found none",
        path.string());
  check(status.type() != std::filesystem::file_type::none, ErrorCode::bad_file,
        "{}: expected a file, found something that cannot be read: {}", path.string(), error.message());
  // Looked at first: opening a pipe that nobody writes to would hang.
  const bool regular = std::filesystem::is_regular_file(status);
  std::ifstream in;
  if (regular) in.open(path, std::ios::binary);
  check(regular && in.good(), ErrorCode::bad_file, "{}: expected a file, found something that cannot be read",
        path.string());
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

bool is_present(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::status(path, ignored).type() != std::filesystem::file_type::not_found;
}

json read_tokenizer_json(const std::filesystem::path& path) {
  const std::string text = read_text_file(path), file = path.string();
  json result;
  try {
    Builder builder(result, file);
    json::sax_parse(text, &builder);
  } catch (const json::exception& error) { fail(ErrorCode::bad_file, "{}: expected JSON: {}", file, error.what()); }
  check(result.is_object(), ErrorCode::bad_file, "{}: expected a JSON object, found {}", file, result.type_name());
  return result;
}

json read_optional_tokenizer_json(const std::filesystem::path& path) {
  return is_present(path) ? read_tokenizer_json(path) : json::object();
}

std::string string_field(const json& object, const char* key, const std::string& file) {
  const json& value = field(object, key, file, "a string");
  check_type(value.is_string(), value, key, file, "a string");
  return value.get<std::string>();
}

bool bool_field(const json& object, const char* key, const std::string& file) {
  const json& value = field(object, key, file, "true or false");
  check_type(value.is_boolean(), value, key, file, "true or false");
  return value.get<bool>();
}

bool bool_field(const json& object, const char* key, const std::string& file, bool fallback) {
  const bool absent = !object.is_object() || !object.contains(key) || object[key].is_null();
  return absent ? fallback : bool_field(object, key, file);
}

const json& array_field(const json& object, const char* key, const std::string& file) {
  const json& value = field(object, key, file, "an array");
  check_type(value.is_array(), value, key, file, "an array");
  return value;
}

const json& object_field(const json& object, const char* key, const std::string& file) {
  const json& value = field(object, key, file, "an object");
  check_type(value.is_object(), value, key, file, "an object");
  return value;
}

}  // namespace fx
