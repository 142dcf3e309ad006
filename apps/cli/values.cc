#include "values.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

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
  const auto value = find_number(text);
  expect(value.has_value(), "{}: expected a finite number of 32 bits, found '{}'", option, text);
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

std::optional<double> find_number(std::string_view text) {
  const auto value = number<double>(text);
  return value && fits_float(*value) ? value : std::nullopt;
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

}  // namespace fx::cli
