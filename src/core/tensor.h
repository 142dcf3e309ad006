// A non-owning, strided view of device or host memory. Views are cheap values; memory belongs to a Buffer.
#pragma once

#include <array>
#include <string>

#include "core/dtype.h"
#include "core/shape.h"

namespace fx {

class Tensor {
 public:
  Tensor() = default;  // "no tensor": defined() is false
  // Row-major and contiguous.
  Tensor(void* data, DType dtype, const Shape& shape);

  bool defined() const { return data_ != nullptr; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  int64_t size(int axis) const { return shape_[axis]; }
  int64_t count() const { return shape_.count(); }
  int64_t bytes() const { return count() * static_cast<int64_t>(size_of(dtype_)); }
  // In elements, not bytes. Negative axes count from the back.
  int64_t stride(int axis) const { return strides_[axis < 0 ? axis + rank() : axis]; }
  bool contiguous() const;

  void* raw() const { return data_; }
  template <class T>
  T* data() const {
    return static_cast<T*>(data_);
  }
  float* f32() const { return static_cast<float*>(data_); }
  int32_t* i32() const { return static_cast<int32_t*>(data_); }

  // Elements [begin, end) along `axis`. Throws invalid_argument outside the range.
  Tensor slice(int axis, int64_t begin, int64_t end) const;
  // Index `i` along the first axis, which disappears.
  Tensor operator[](int64_t i) const;
  // Same elements, other shape. Splits and merges axes wherever the strides allow it; throws invalid_argument otherwise.
  Tensor reshape(const Shape& shape) const;
  Tensor transpose(int axis_a, int axis_b) const;
  // The same view of other memory.
  Tensor moved_to(void* data) const {
    Tensor view = *this;
    view.data_ = data;
    return view;
  }

 private:
  void* data_ = nullptr;
  DType dtype_ = DType::f32;
  Shape shape_;
  std::array<int64_t, kMaxRank> strides_{};
};

std::string describe(const Tensor& tensor);  // "(1, 77, 768) f32", or "none"

}  // namespace fx
