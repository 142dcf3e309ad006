// Named tensors in files, whatever the container: what every reader returns and every loader takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"

namespace fx {

struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  uint64_t begin = 0;  // bytes [begin, end) from the start of the file
  uint64_t end = 0;
  uint32_t part = 0;  // which file of a sharded source
};

class TensorSource {
 public:
  virtual ~TensorSource() = default;

  // All tensors, in the order in which their data lie in the file (shard after shard), so that a loader that follows it
  // reads straight through.
  virtual const std::vector<TensorInfo>& tensors() const = 0;

  // nullptr when there is no tensor of that name. Valid as long as the source.
  virtual const TensorInfo* find(std::string_view name) const = 0;

  // A view of the data; it need not be aligned for its dtype (convert_to_f32 and memcpy do not mind). `info` comes from
  // this source. Valid as long as the source. Thread-safe.
  virtual std::span<const std::byte> bytes(const TensorInfo& info) const = 0;

  // Says that the data of `info` have been used and may leave memory; `bytes` may still be called again.
  virtual void release(const TensorInfo& info) const noexcept = 0;

  // Free-form text of the container ("format" -> "pt", ...); of a sharded source, that of all shards together.
  virtual const std::map<std::string, std::string>& metadata() const = 0;

  // The file, or the index of a sharded source: for messages.
  virtual const std::filesystem::path& path() const = 0;

  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const TensorInfo& info : tensors()) all.push_back(info.name);
    return all;
  }
};

}  // namespace fx
