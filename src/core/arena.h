// Bump allocation for activations: one owner of many buffers whose addresses stay fixed until the arena dies. A model
// plans its activations once per shape, before the first step, so that no operation allocates afterwards.
#pragma once

#include <vector>

#include "core/buffer.h"

namespace fx {

class Arena {
 public:
  explicit Arena(Runtime& runtime) : runtime_(&runtime) {}

  // An uninitialised tensor that lives as long as the arena.
  Tensor allocate(DType dtype, const Shape& shape) {
    return buffers_.emplace_back(*runtime_, dtype, shape).tensor();
  }
  Tensor f32(const Shape& shape) { return allocate(DType::f32, shape); }
  Tensor i32(const Shape& shape) { return allocate(DType::i32, shape); }
  Runtime& runtime() const { return *runtime_; }
  size_t bytes() const {
    size_t total = 0;
    for (const Buffer& buffer : buffers_) total += static_cast<size_t>(buffer.tensor().bytes());
    return total;
  }

 private:
  Runtime* runtime_;
  std::vector<Buffer> buffers_;
};

}  // namespace fx
