#include "values.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "usage_error.h"

namespace fx::cli {
namespace {

// The number that the whole text spells; nothing when it spells none, or one out of range.
template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Finite, and still so as a float.
bool fits_float(double value) { return std::abs(value) <= std::numeric_limits<float>::max(); }

bool is_file(const std::string& path) {
  std::error_code ignored;
  return !path.empty() && std::filesystem::exists(path, ignored);
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

}  // namespace

int64_t parse_int(std::string_view option, std::string_view text, int64_t min, int64_t max) {
  const auto value = number<int64_t>(text);
  expect(value && *value >= min && *value <= max, "{}: expected a whole number from {} to {}, found '{}'", option, min,
         max, text);
  return *value;
}

double parse_number(std::string_view option, std::string_view text) {
  const auto value = number<double>(text);
  expect(value && fits_float(*value), "{}: expected a finite number of 32 bits, found '{}'", option, text);
  return *value;
}

uint64_t parse_seed(std::string_view text) {
  if (const auto value = number<uint64_t>(text)) return *value;
  const auto negative = number<int64_t>(text);
  expect(negative.has_value(), "--seed: expected a whole number of at most 64 bits, found '{}'", text);
  return static_cast<uint64_t>(*negative);
}

NoiseType parse_noise(std::string_view text) {
  if (text == "f32") return NoiseType::f32;
  expect(text == "bf16", "--noise: expected f32 or bf16, found '{}'", text);
  return NoiseType::bf16;
}

Shape parse_shape(std::string_view text) {
  std::vector<int64_t> dims;
  int64_t count = 1;
  for (const std::string& part : split(text, ',')) {
    dims.push_back(parse_int("--shape", part, 1, INT32_MAX));
    expect(!__builtin_mul_overflow(count, dims.back(), &count) && count <= INT32_MAX,
           "--shape: expected at most {} values in all, found {}", INT32_MAX, text);
  }
  expect(dims.size() <= static_cast<size_t>(kMaxRank), "--shape: expected at most {} dimensions, found {}", kMaxRank,
         dims.size());
  return Shape(dims);
}

AdapterChoice parse_adapter(const std::string& text) {
  const size_t colon = text.rfind(':');
  expect(!text.empty() && colon != 0, "--lora: expected FILE or FILE:SCALE, found '{}'", text);
  if (colon == std::string::npos) return {.file = text};
  const std::string file = text.substr(0, colon), scale_text = text.substr(colon + 1);
  if (is_file(text) && !is_file(file)) return {.file = text};
  const auto scale = number<double>(scale_text);
  if (!scale && !is_file(file)) return {.file = text};
  expect(scale && fits_float(*scale), "--lora {}: expected a finite number of 32 bits as scale, found '{}'", file,
         scale_text);
  return {.file = file, .settings = {.scale = static_cast<float>(*scale)}};
}

std::vector<AdapterChoice> parse_adapter_set(const std::string& text) {
  const size_t plus = text.rfind('+'), colon = text.rfind(':');
  const bool scaled = colon != std::string::npos && plus != std::string::npos && colon > plus;
  const bool one = plus == std::string::npos || is_file(text) || (scaled && is_file(text.substr(0, colon)));
  if (one) return {parse_adapter(text)};
  std::vector<AdapterChoice> set;
  for (const std::string& part : split(text, '+')) set.push_back(parse_adapter(part));
  return set;
}

}  // namespace fx::cli
