// Memory for one operation at a time. It grows when a larger shape comes for the first time; smaller blocks stay, because
// captured graphs know their addresses. Sizes are powers of two, so all old blocks together are smaller than the newest.
#pragma once

#include <cstddef>
#include <vector>

#include "core/buffer.h"

namespace fx::cuda {

class Scratch {
 public:
  explicit Scratch(Runtime& runtime) : runtime_(runtime) {}

  // At least so much, aligned to 256 bytes; valid until the next call. An operation calls once.
  std::byte* bytes(int64_t bytes);
  float* floats(int64_t floats) { return reinterpret_cast<float*>(bytes(4 * floats)); }

 private:
  Runtime& runtime_;
  std::vector<Buffer> blocks_;
};

// What one operation keeps in its scratch memory, each part aligned to 256 bytes: first all sizes, then the addresses.
class ScratchParts {
 public:
  // The place of a part, counted from the beginning of the memory.
  int64_t add(int64_t bytes) {
    const int64_t place = bytes_;
    bytes_ += (bytes + 255) / 256 * 256;
    return place;
  }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_ = 0;
};

}  // namespace fx::cuda
