// Golden files: what the Python reference computed, and how far we are from it.
#pragma once

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "io/safetensors.h"
#include "nn/taps.h"

namespace fx::test {

// The source tree: that of the build, or where a test program was carried to (scripts/gpu/check.sh).
inline std::filesystem::path source_folder() {
  const char* elsewhere = std::getenv("FLUXSWAP_SOURCE_DIR");
  return elsewhere ? elsewhere : FLUXSWAP_SOURCE_DIR;
}

inline std::filesystem::path golden_folder() { return source_folder() / "tests" / "data" / "golden"; }

// One case: tensors by name, and the request in the metadata.
class Golden {
 public:
  explicit Golden(const std::filesystem::path& path) : source_(open_safetensors(path)) {}

  bool has(const std::string& name) const { return source_->find(name) != nullptr; }
  const std::string& text(const std::string& key) const { return source_->metadata().at(key); }
  int64_t number(const std::string& key) const { return std::stoll(text(key)); }

  HostTensor tensor(const std::string& name) const {
    const TensorInfo* info = source_->find(name);
    if (!info) throw std::runtime_error("no tensor " + name + " in " + source_->path().string());
    HostTensor result{name, info->shape, std::vector<float>(static_cast<size_t>(info->shape.count()))};
    convert_to_f32(info->dtype, source_->bytes(*info).data(), result.values.data(), result.values.size());
    return result;
  }
  std::vector<int32_t> integers(const std::string& name) const {
    const TensorInfo* info = source_->find(name);
    if (!info) throw std::runtime_error("no tensor " + name + " in " + source_->path().string());
    std::vector<int32_t> values(static_cast<size_t>(info->shape.count()));
    const auto* data = source_->bytes(*info).data();
    for (size_t i = 0; i < values.size(); ++i) std::memcpy(&values[i], data + i * size_of(info->dtype), sizeof(int32_t));
    return values;  // i32, or the low half of little-endian i64
  }
  std::vector<std::string> names() const { return source_->names(); }

 private:
  std::unique_ptr<TensorSource> source_;
};

// |actual - expected| / |expected|, Euclidean; infinite when the sizes differ or a value is not finite.
inline double relative_error(const std::vector<float>& actual, const std::vector<float>& expected) {
  if (actual.size() != expected.size()) return INFINITY;
  double difference = 0, norm = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double d = static_cast<double>(actual[i]) - expected[i];
    difference += d * d;
    norm += static_cast<double>(expected[i]) * expected[i];
  }
  const double error = norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
  return std::isfinite(error) ? error : INFINITY;
}

inline std::vector<float> minus(std::vector<float> a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] -= b.at(i);
  return a;
}

// (1, C, H, W) to (1, H, W, C).
inline HostTensor channels_last(const HostTensor& t) {
  const int64_t C = t.shape[1], H = t.shape[2], W = t.shape[3];
  HostTensor result{t.name, {1, H, W, C}, std::vector<float>(t.values.size())};
  for (int64_t c = 0; c < C; ++c) {
    for (int64_t i = 0; i < H * W; ++i) result.values[i * C + c] = t.values[c * H * W + i];
  }
  return result;
}

}  // namespace fx::test
