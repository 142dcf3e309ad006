#include "core/tensor.h"

#include "core/error.h"

namespace fx {

Tensor::Tensor(void* data, DType dtype, const Shape& shape) : data_(data), dtype_(dtype), shape_(shape) {
  int64_t stride = 1;
  for (int axis = rank() - 1; axis >= 0; --axis) {
    strides_[axis] = stride;
    stride *= shape_[axis];
  }
}

bool Tensor::contiguous() const {
  int64_t expected = 1;
  for (int axis = rank() - 1; axis >= 0; --axis) {
    if (size(axis) != 1 && strides_[axis] != expected) return false;
    expected *= size(axis);
  }
  return true;
}

Tensor Tensor::slice(int axis, int64_t begin, int64_t end) const {
  if (axis < 0) axis += rank();
  check(axis >= 0 && axis < rank() && 0 <= begin && begin <= end && end <= size(axis), ErrorCode::invalid_argument,
        "slice [{}, {}) of axis {} is outside of {}", begin, end, axis, describe(*this));
  Tensor view = *this;
  view.shape_[axis] = end - begin;
  view.data_ = static_cast<char*>(data_) + begin * strides_[axis] * static_cast<int64_t>(size_of(dtype_));
  return view;
}

Tensor Tensor::operator[](int64_t i) const {
  const Tensor row = slice(0, i, i + 1);
  Tensor view = row;
  view.shape_ = Shape(shape_.dims().subspan(1));
  for (int axis = 0; axis + 1 < rank(); ++axis) view.strides_[axis] = strides_[axis + 1];
  return view;
}

Tensor Tensor::reshape(const Shape& shape) const {
  check(shape.count() == count(), ErrorCode::invalid_argument, "cannot view {} as {}: the element counts differ",
        describe(*this), to_string(shape));
  Tensor view(data_, dtype_, shape);
  if (contiguous() || count() == 0) return view;
  // Old axes that lie densely behind each other form a chunk; the new axes must fill each chunk exactly.
  int64_t chunk = 1, filled = 1, base = strides_[rank() - 1];
  int new_axis = shape.rank() - 1;
  for (int axis = rank() - 1; axis >= 0; --axis) {
    chunk *= size(axis);
    const bool chunk_ends = axis == 0 || (size(axis - 1) != 1 && strides_[axis - 1] != chunk * base);
    if (!chunk_ends) continue;
    while (new_axis >= 0 && (filled < chunk || shape[new_axis] == 1)) {
      view.strides_[new_axis] = filled * base;
      filled *= shape[new_axis--];
    }
    check(filled == chunk, ErrorCode::invalid_argument, "cannot view {} as {}: its strides do not allow it",
          describe(*this), to_string(shape));
    if (axis > 0) base = strides_[axis - 1];
    chunk = filled = 1;
  }
  return view;
}

Tensor Tensor::transpose(int axis_a, int axis_b) const {
  if (axis_a < 0) axis_a += rank();
  if (axis_b < 0) axis_b += rank();
  Tensor view = *this;
  std::swap(view.shape_[axis_a], view.shape_[axis_b]);
  std::swap(view.strides_[axis_a], view.strides_[axis_b]);
  return view;
}

std::string describe(const Tensor& tensor) {
  if (!tensor.defined()) return "none";
  return to_string(tensor.shape()) + " " + std::string(name(tensor.dtype()));
}

}  // namespace fx
