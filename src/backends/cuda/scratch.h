// Memory for one operation at a time. It grows when a larger shape comes for the first time; smaller blocks stay, because
// captured graphs know their addresses. Sizes are powers of two, so all old blocks together are smaller than the newest.
#pragma once

#include <vector>

#include "core/buffer.h"

namespace fx::cuda {

class Scratch {
 public:
  explicit Scratch(Runtime& runtime) : runtime_(runtime) {}

  // At least `floats` long, aligned to 256 bytes; valid until the next operation.
  float* floats(int64_t floats);

 private:
  Runtime& runtime_;
  std::vector<Buffer> blocks_;
};

}  // namespace fx::cuda
