// One JSON config file: typed fields with defaults, and refusal of values we cannot run.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "core/error.h"
#include "io/json_file.h"

namespace fx {

class ConfigReader {
 public:
  explicit ConfigReader(const std::filesystem::path& file) : file_(file.string()), json_(read_json_file(file)) {
    check(json_.is_object(), ErrorCode::bad_file, "{}: expected a JSON object", file_);
  }

  const std::string& file() const { return file_; }
  bool has(const std::string& key) const { return json_.contains(key) && !json_.at(key).is_null(); }

  // The field, or `fallback` when it is absent or null. Throws bad_file when it has another type.
  template <class T>
  T get(const std::string& key, T fallback) const {
    if (!has(key)) return fallback;
    try {
      return convert<T>(json_.at(key));
    } catch (const nlohmann::json::exception&) {
      fail(ErrorCode::bad_file, "{}: {} has an unexpected value: {}", file_, key, json_.at(key).dump());
    }
  }

  // A size of a network. The limit is far beyond any model, and small enough that nothing derived from it overflows.
  int64_t positive(const std::string& key, int64_t fallback) const { return within(key, fallback, 1, 1 << 24); }
  // A number of layers. Memory is taken for each before any weight file is opened.
  int64_t layers(const std::string& key, int64_t fallback, int64_t least = 1) const {
    return within(key, fallback, least, 1000);
  }

  int64_t within(const std::string& key, int64_t fallback, int64_t least, int64_t most) const {
    const auto value = get<int64_t>(key, fallback);
    check(value >= least && value <= most, ErrorCode::bad_file, "{}: {}: expected {} to {}, found {}", file_, key, least,
          most, value);
    return value;
  }

  // Refuses the file unless the field is absent, null or `only`.
  template <class T>
  void require(const std::string& key, const T& only) const {
    if (!has(key)) return;
    check(json_.at(key) == nlohmann::json(only), ErrorCode::unsupported, "{}: {} = {} is not supported; expected {}",
          file_, key, json_.at(key).dump(), nlohmann::json(only).dump());
  }

 private:
  template <class T>
  static T convert(const nlohmann::json& value) {
    // The JSON library would turn true into 1 and 1.5 into 1.
    if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, int>) {
      if (!value.is_number_integer()) throw nlohmann::json::type_error::create(302, "not a whole number", &value);
    } else if constexpr (std::is_same_v<T, double>) {
      if (!value.is_number()) throw nlohmann::json::type_error::create(302, "not a number", &value);
    }
    return value.get<T>();
  }

  std::string file_;
  nlohmann::json json_;
};

}  // namespace fx
