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
  std::vector<std::byte> stored;
  void* target = values.data();
  if (tensor.dtype() != DType::f32) {
    stored.resize(static_cast<size_t>(tensor.bytes()));
    target = stored.data();
  }
  runtime.copy(target, source.raw(), static_cast<size_t>(tensor.bytes()), CopyKind::device_to_host);
  runtime.synchronize();
  if (!stored.empty()) convert_to_f32(tensor.dtype(), stored.data(), values.data(), values.size());
  return values;
}

namespace {

// By exponents: a comparison of whole numbers for each value, which the compiler makes vectors of.
template <class Bits>
bool finite(const std::vector<std::byte>& stored, Bits exponent) {
  Bits found = 0;
  const auto* bits = reinterpret_cast<const Bits*>(stored.data());
  for (size_t i = 0; i < stored.size() / sizeof(Bits); ++i) found |= (bits[i] & exponent) == exponent ? 1 : 0;
  return found == 0;
}

}  // namespace

bool all_finite(Ops& ops, const Tensor& tensor) {
  check(tensor.contiguous(), ErrorCode::internal, "all_finite: {} is not dense", describe(tensor));
  std::vector<std::byte> stored(static_cast<size_t>(tensor.bytes()));
  ops.runtime().copy(stored.data(), tensor.raw(), stored.size(), CopyKind::device_to_host);
  ops.runtime().synchronize();
  return tensor.dtype() == DType::bf16 ? finite<uint16_t>(stored, 0x7f80) : finite<uint32_t>(stored, 0x7f800000);
}

namespace {
void upload_dense(Ops& ops, const void* values, size_t count, const Tensor& tensor) {
  check(tensor.contiguous() && static_cast<size_t>(tensor.count()) == count, ErrorCode::internal,
        "upload: {} values for {}", count, describe(tensor));
  ops.runtime().copy(tensor.raw(), values, static_cast<size_t>(tensor.bytes()), CopyKind::host_to_device);
  ops.runtime().synchronize();
}
}  // namespace

void upload(Ops& ops, const std::vector<float>& values, const Tensor& tensor) {
  if (tensor.dtype() == DType::f32) return upload_dense(ops, values.data(), values.size(), tensor);
  std::vector<std::byte> stored(values.size() * size_of(tensor.dtype()));
  convert_from_f32(values.data(), tensor.dtype(), stored.data(), values.size());
  upload_dense(ops, stored.data(), values.size(), tensor);
}

void upload(Ops& ops, const std::vector<int32_t>& values, const Tensor& tensor) {
  check(tensor.dtype() == DType::i32, ErrorCode::internal, "upload: whole numbers for {}", describe(tensor));
  upload_dense(ops, values.data(), values.size(), tensor);
}

}  // namespace fx
