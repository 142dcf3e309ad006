// Adapter files for tests, tensor by tensor.
#pragma once

#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "io/safetensors.h"
#include "lora/target.h"
#include "support/random.h"

namespace fx::test {

class AdapterFileBuilder {
 public:
  explicit AdapterFileBuilder(DType dtype = DType::f32) : dtype_(dtype) {}

  AdapterFileBuilder& add(const std::string& key, const Shape& shape, const std::vector<float>& values) {
    std::vector<std::byte> bytes(values.size() * size_of(dtype_));
    if (!values.empty()) convert_from_f32(values.data(), dtype_, bytes.data(), values.size());
    return add_raw(key, dtype_, shape, std::move(bytes));
  }
  AdapterFileBuilder& add_raw(const std::string& key, DType dtype, const Shape& shape, std::vector<std::byte> bytes) {
    tensors_[key] = {dtype, shape, std::move(bytes)};
    return *this;
  }
  template <class T>
  AdapterFileBuilder& add_number(const std::string& key, DType dtype, T value, const Shape& shape = {}) {
    std::vector<std::byte> bytes(sizeof(T));
    std::memcpy(bytes.data(), &value, sizeof(T));
    return add_raw(key, dtype, shape, std::move(bytes));
  }
  // Values that depend on the key's name and `seed` only.
  AdapterFileBuilder& random(const std::string& key, const Shape& shape, const std::string& seed,
                             float deviation = 0.3f) {
    std::vector<float> values(static_cast<size_t>(shape.count()));
    Rng(seed).fill_normal(values, deviation);
    return add(key, shape, values);
  }
  // `module` with its prefix.
  AdapterFileBuilder& pair(const std::string& module, int64_t rank, int64_t in, int64_t out,
                           const std::string& seed = "") {
    random(module + ".lora_A.weight", {rank, in}, seed + module + "A");
    return random(module + ".lora_B.weight", {out, rank}, seed + module + "B");
  }
  AdapterFileBuilder& alpha(const std::string& module, float value) { return add(module + ".alpha", {}, {value}); }
  AdapterFileBuilder& erase(const std::string& key) {
    tensors_.erase(key);
    return *this;
  }
  AdapterFileBuilder& metadata(const std::string& key, const std::string& value) {
    metadata_[key] = value;
    return *this;
  }

  std::filesystem::path write(const std::filesystem::path& path) {
    std::map<std::string, Tensor> views;
    for (auto& [key, tensor] : tensors_) {
      static std::byte none;  // a tensor without elements has an address too
      views[key] = Tensor(tensor.bytes.empty() ? &none : tensor.bytes.data(), tensor.dtype, tensor.shape);
    }
    write_safetensors(path, views, metadata_);
    return path;
  }

 private:
  struct Stored {
    DType dtype;
    Shape shape;
    std::vector<std::byte> bytes;
  };
  DType dtype_;
  std::map<std::string, Stored> tensors_;
  std::map<std::string, std::string> metadata_;
};

// The names by which PEFT files call the layers of a component: those of diffusers, in a fixed order.
inline std::vector<std::string> file_modules(const AdapterTarget& target, Component component) {
  std::vector<std::string> modules;
  for (const auto& [source, place] : target.names(component)->modules()) {
    const bool named = component != Component::transformer || source != place.name;
    if (named && target.find(component, source)) modules.push_back(source);
  }
  std::sort(modules.begin(), modules.end());
  return modules;
}

// A pair for every module whose name has `part`, of rank `rank` + (0, 1 or 2).
inline AdapterFileBuilder adapter_for(const AdapterTarget& target, const std::string& seed, int64_t rank = 2,
                                      const std::string& part = "") {
  AdapterFileBuilder builder;
  for (const Component component : {Component::transformer, Component::text_encoder, Component::text_encoder_2}) {
    for (const std::string& module : file_modules(target, component)) {
      const std::string full = std::string(name(component)) + "." + module;
      if (full.find(part) == std::string::npos) continue;
      const ModulePlace place = target.find(component, module).value();
      const auto extra = static_cast<int64_t>(full.size() % 3);
      builder.pair(full, rank + extra, target.slots()[place.slot].slot->in, place.rows.count, seed);
      if (full.size() % 2) builder.alpha(full, 1.5f);
    }
  }
  return builder;
}

}  // namespace fx::test
