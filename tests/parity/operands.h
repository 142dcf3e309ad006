// The tensors of one op case: owned, guarded and filled the same way every time.
#pragma once

#include <cstring>
#include <deque>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "support/random.h"

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

class Operands {
 public:
  explicit Operands(const std::string& seed_name) : rng_(seed_name) {}

  Rng& rng() { return rng_; }
  const Tensor& operator[](const std::string& name) const { return views_.at(name); }

  // Normal random numbers, read only.
  const Tensor& input(const std::string& name, const Shape& shape, float deviation = 1, float mean = 0) {
    const Tensor& t = allocate(name, DType::f32, shape, false);
    rng_.fill_normal({t.f32(), static_cast<size_t>(t.count())}, deviation, mean);
    return t;
  }
  const Tensor& integers(const std::string& name, const Shape& shape, const std::vector<int32_t>& values) {
    const Tensor& t = allocate(name, DType::i32, shape, false);
    std::memcpy(t.raw(), values.data(), values.size() * sizeof(int32_t));
    return t;
  }
  // NaN everywhere: whatever the operation does not write stays visible.
  const Tensor& output(const std::string& name, const Shape& shape, DType dtype = DType::f32) {
    const Tensor& t = allocate(name, dtype, shape, true);
    if (dtype == DType::f32) std::fill_n(t.f32(), t.count(), std::numeric_limits<float>::quiet_NaN());
    return t;
  }
  // Random numbers that the operation changes.
  const Tensor& in_out(const std::string& name, const Shape& shape, float deviation = 1) {
    const Tensor& t = input(name, shape, deviation);
    buffers_.back().written = true;
    return t;
  }
  // A part or another arrangement of a tensor.
  void view(const std::string& name, const Tensor& tensor) { views_[name] = tensor; }

  struct Owned {
    Owned(std::string n, DType dtype, const Shape& shape, bool w)
        : name(std::move(n)), buffer(dtype, shape), written(w) {}
    std::string name;
    GuardedBuffer buffer;
    bool written;
  };
  const std::deque<Owned>& buffers() const { return buffers_; }
  std::deque<Owned>& buffers() { return buffers_; }
  const std::map<std::string, Tensor>& views() const { return views_; }

 private:
  const Tensor& allocate(const std::string& name, DType dtype, const Shape& shape, bool written) {
    buffers_.emplace_back(name, dtype, shape, written);
    return views_[name] = buffers_.back().buffer.tensor();
  }

  Rng rng_;
  std::deque<Owned> buffers_;
  std::map<std::string, Tensor> views_;
};

}  // namespace fx::test
