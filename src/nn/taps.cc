#include "nn/taps.h"

#include "core/buffer.h"
#include "core/error.h"

namespace fx {

void Taps::record(Ops& ops, const std::string& name, const Tensor& tensor) {
  tensors_.push_back({name, tensor.shape(), download(ops, tensor)});
}

std::vector<float> download(Ops& ops, const Tensor& tensor) {
  Runtime& runtime = ops.runtime();
  std::vector<float> values(static_cast<size_t>(tensor.count()));
  Buffer dense;
  Tensor source = tensor;
  if (!tensor.contiguous()) {
    dense = Buffer(runtime, tensor.dtype(), tensor.shape());
    source = dense.tensor();
    ops.copy({.x = tensor, .y = source});
  }
  runtime.copy(values.data(), source.raw(), values.size() * sizeof(float), CopyKind::device_to_host);
  runtime.synchronize();
  return values;
}

namespace {
template <class T>
void upload_dense(Ops& ops, const std::vector<T>& values, const Tensor& tensor) {
  check(tensor.contiguous() && static_cast<size_t>(tensor.count()) == values.size() &&
            size_of(tensor.dtype()) == sizeof(T),
        ErrorCode::internal, "upload: {} values for {}", values.size(), describe(tensor));
  ops.runtime().copy(tensor.raw(), values.data(), values.size() * sizeof(T), CopyKind::host_to_device);
  ops.runtime().synchronize();
}
}  // namespace

void upload(Ops& ops, const std::vector<float>& values, const Tensor& tensor) { upload_dense(ops, values, tensor); }
void upload(Ops& ops, const std::vector<int32_t>& values, const Tensor& tensor) { upload_dense(ops, values, tensor); }

}  // namespace fx
