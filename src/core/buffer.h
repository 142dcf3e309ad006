// Owns a block of device memory and hands out Tensor views of it.
#pragma once

#include <utility>

#include "core/runtime.h"
#include "core/tensor.h"

namespace fx {

class Buffer {
 public:
  Buffer() = default;
  Buffer(Runtime& runtime, DType dtype, const Shape& shape)
      : runtime_(&runtime),
        bytes_(static_cast<size_t>(shape.count()) * size_of(dtype)),
        view_(runtime.allocate(bytes_), dtype, shape) {}
  ~Buffer() { reset(); }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    reset();
    swap(other);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  const Tensor& tensor() const { return view_; }
  void reset() noexcept {
    if (runtime_) runtime_->release(view_.raw(), bytes_);
    runtime_ = nullptr;
    bytes_ = 0;
    view_ = Tensor();
  }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(runtime_, other.runtime_);
    std::swap(bytes_, other.bytes_);
    std::swap(view_, other.view_);
  }

  Runtime* runtime_ = nullptr;
  size_t bytes_ = 0;
  Tensor view_;
};

}  // namespace fx
