// Memory that shows when somebody writes beside it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace fx::test {

// Memory with a pattern before and behind it.
class GuardedBuffer {
 public:
  GuardedBuffer(DType dtype, const Shape& shape)
      : bytes_(static_cast<size_t>(shape.count()) * size_of(dtype)),
        memory_(bytes_ + 2 * kGuard + 64, kPattern),
        offset_(kGuard + (64 - (reinterpret_cast<uintptr_t>(memory_.data()) + kGuard) % 64) % 64),
        tensor_(memory_.data() + offset_, dtype, shape) {}
  GuardedBuffer(const GuardedBuffer&) = delete;

  const Tensor& tensor() const { return tensor_; }
  std::vector<uint8_t> bytes() const { return {memory_.begin() + offset_, memory_.begin() + offset_ + bytes_}; }
  // The tensor between its guards: what travels to a device and back.
  std::span<uint8_t> guarded_bytes() { return {memory_.data() + offset_ - kGuard, bytes_ + 2 * kGuard}; }
  bool guards_intact() const {
    for (size_t i = 0; i < memory_.size(); ++i) {
      if ((i < offset_ || i >= offset_ + bytes_) && memory_[i] != kPattern) return false;
    }
    return true;
  }

  static constexpr size_t kGuard = 256;

 private:
  static constexpr uint8_t kPattern = 0xA5;
  size_t bytes_;
  std::vector<uint8_t> memory_;
  size_t offset_;
  Tensor tensor_;
};

}  // namespace fx::test
