// Copies between views of any strides, with a change among f32, bf16 and f16 on the way.
#include "backends/cuda/cuda_error.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"

namespace fx::cuda {
namespace {

constexpr int kVector = 8;

// x and y in groups of n neighbours along the last axis, which is dense where n is not 1. Strides count bytes.
struct StridedCopy {
  int rank;
  int64_t sizes[kMaxRank], x_strides[kMaxRank], y_strides[kMaxRank];
  const char* x;
  char* y;
  int64_t count;  // groups

  StridedCopy(const Tensor& from, const Tensor& to, int n)
      : rank(from.rank()), x(from.data<const char>()), y(to.data<char>()), count(from.count() / n) {
    for (int axis = 0; axis < rank; ++axis) {
      sizes[axis] = from.size(axis);
      x_strides[axis] = from.stride(axis) * static_cast<int64_t>(size_of(from.dtype()));
      y_strides[axis] = to.stride(axis) * static_cast<int64_t>(size_of(to.dtype()));
    }
    sizes[rank - 1] /= n;
    x_strides[rank - 1] *= n;
    y_strides[rank - 1] *= n;
  }
  // f(source, target) for each group that falls to this thread.
  template <class F>
  __device__ void each(F f) const {
    for (int64_t i = first_element(); i < count; i += element_stride()) {
      int64_t rest = i, from = 0, to = 0;
      for (int axis = rank - 1; axis >= 0; --axis) {
        const int64_t at = rest % sizes[axis];
        rest /= sizes[axis];
        from += at * x_strides[axis];
        to += at * y_strides[axis];
      }
      f(x + from, y + to);
    }
  }
};

template <class Item>
__global__ void copy_kernel(StridedCopy copy) {
  copy.each([](const char* from, char* to) { *reinterpret_cast<Item*>(to) = *reinterpret_cast<const Item*>(from); });
}

template <class X, class Y, int n>
__global__ void convert_kernel(StridedCopy copy) {
  copy.each([](const char* from, char* to) {
    float v[n];
    load(reinterpret_cast<const X*>(from), v);
    store(reinterpret_cast<Y*>(to), v);
  });
}

template <class Item>
void copy_items(const Tensor& x, const Tensor& y, cudaStream_t stream) {
  const StridedCopy copy(x, y, static_cast<int>(sizeof(Item) / size_of(x.dtype())));
  copy_kernel<Item><<<blocks_for(copy.count), kThreads, 0, stream>>>(copy);
}

// Rows of `columns` dense items, one warp after the other: what an adapter's B is. No division for each item.
template <class Item>
__global__ void copy_rows_kernel(const Item* x, int64_t x_stride, Item* y, int64_t y_stride, int64_t rows, int columns) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int64_t row = first_element() / kWarp; row < rows; row += element_stride() / kWarp) {
    for (int c = lane; c < columns; c += kWarp) y[row * y_stride + c] = x[row * x_stride + c];
  }
}

template <class Item>
void copy_rows(const Tensor& x, const Tensor& y, cudaStream_t stream) {
  const auto items = static_cast<int64_t>(sizeof(Item) / size_of(x.dtype()));  // of the tensor in one of ours
  copy_rows_kernel<Item><<<blocks_for(x.size(0) * kWarp), kThreads, 0, stream>>>(
      x.data<const Item>(), x.stride(0) / items, y.data<Item>(), y.stride(0) / items, x.size(0),
      static_cast<int>(x.size(1) / items));
}

bool are_rows(const Tensor& x, const Tensor& y) {
  return x.rank() == 2 && x.stride(1) == 1 && y.stride(1) == 1 && x.dtype() == DType::bf16;
}

// x and y of one type, moved in the largest items that both allow.
void copy_same(const Tensor& x, const Tensor& y, cudaStream_t stream) {
  const auto size = static_cast<int64_t>(size_of(x.dtype()));
  if (are_rows(x, y)) return fit_vectors(8, x, y) ? copy_rows<uint4>(x, y, stream) : copy_rows<uint16_t>(x, y, stream);
  if (fit_vectors(16 / size, x, y)) return copy_items<uint4>(x, y, stream);
  switch (size) {
    case 1: return copy_items<uint8_t>(x, y, stream);
    case 2: return copy_items<uint16_t>(x, y, stream);
    case 4: return copy_items<uint32_t>(x, y, stream);
    default: return copy_items<uint64_t>(x, y, stream);
  }
}

template <class F>
void dispatch_convertible(DType dtype, F&& f) {
  if (dtype == DType::f16) f(std::type_identity<__half>());
  else dispatch(dtype, f);
}

void convert(const Tensor& x, const Tensor& y, cudaStream_t stream) {
  dispatch_convertible(x.dtype(), [&](auto x_type) {
    dispatch_convertible(y.dtype(), [&](auto y_type) {
      using X = typename decltype(x_type)::type;
      using Y = typename decltype(y_type)::type;
      if constexpr (!std::is_same_v<X, Y>) {
        if (fit_vectors(kVector, x, y)) {
          const StridedCopy copy(x, y, kVector);
          convert_kernel<X, Y, kVector><<<blocks_for(copy.count), kThreads, 0, stream>>>(copy);
        } else {
          const StridedCopy copy(x, y, 1);
          convert_kernel<X, Y, 1><<<blocks_for(copy.count), kThreads, 0, stream>>>(copy);
        }
      }
    });
  });
}

}  // namespace

void CudaOps::do_copy(const CopyArgs& a) {
  if (a.x.count() == 0) return;
  const bool contiguous = a.x.contiguous() && a.y.contiguous(), same = a.x.dtype() == a.y.dtype();
  if (contiguous && same) {
    runtime_.copy(a.y.raw(), a.x.raw(), static_cast<size_t>(a.x.bytes()), CopyKind::device_to_device);
    return;
  }
  const Tensor x = contiguous ? a.x.reshape({a.x.count()}) : a.x, y = contiguous ? a.y.reshape({a.y.count()}) : a.y;
  if (same) copy_same(x, y, stream());
  else convert(x, y, stream());
  check_launch("copy");
}

}  // namespace fx::cuda
