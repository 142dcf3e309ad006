#include "lora/apply/stored_values.h"

#include <cstring>

#include "core/quantize.h"

namespace fx {
namespace {

bool quantised(const Param& param) { return param.base().dtype() == DType::f8_e4m3; }

}  // namespace

int64_t columns_of(const Param& param) { return param.file_shape.rank() == 2 ? param.file_shape[1] : 1; }

StoredValues::StoredValues(const Param& param)
    : dtype_(param.base().dtype()),
      largest_(param.largest()),
      in_(columns_of(param)),
      row_bytes_(static_cast<size_t>(in_) * size_of(dtype_)),
      size_(offset(param.file_shape[0])),
      values_(std::make_unique_for_overwrite<std::byte[]>(size_)),
      scales_(quantised(param) ? static_cast<size_t>(param.file_shape[0]) : 0) {}

StoredValues StoredValues::fetched(Runtime& runtime, const Param& param) {
  StoredValues result(param);
  const Tensor& kept = param.base();
  if (kept.contiguous()) {
    runtime.fetch(result.values_.get(), kept.raw(), result.size_);
  } else {  // beside a front: in one transfer, and then without it
    const int64_t rows = kept.size(0);
    const size_t stride = static_cast<size_t>(kept.stride(0)) * size_of(kept.dtype());
    const size_t all = static_cast<size_t>(rows - 1) * stride + result.row_bytes_;
    const auto apart = std::make_unique_for_overwrite<std::byte[]>(all);
    runtime.fetch(apart.get(), kept.raw(), all);
    for (int64_t row = 0; row < rows; ++row) {
      std::memcpy(result.values_.get() + result.offset(row), apart.get() + static_cast<size_t>(row) * stride,
                  result.row_bytes_);
    }
  }
  if (quantised(param)) runtime.fetch(result.scales_.data(), param.scale.raw(), result.scales_.size() * sizeof(float));
  return result;
}

size_t StoredValues::bytes_of(const Param& param) {
  const auto count = static_cast<size_t>(param.file_shape.count()), rows = static_cast<size_t>(param.file_shape[0]);
  return count * size_of(param.base().dtype()) + (quantised(param) ? rows * sizeof(float) : 0);
}

std::span<const std::byte> StoredValues::rows(int64_t begin, int64_t count) const {
  return {values_.get() + offset(begin), offset(count)};
}

void StoredValues::write(int64_t begin, int64_t count, const float* values) {
  std::byte* target = values_.get() + offset(begin);
  if (scales_.empty()) return convert_from_f32(values, dtype_, target, static_cast<size_t>(count * in_));
  for (int64_t row = 0; row < count; ++row) {
    scales_[static_cast<size_t>(begin + row)] =
        quantize_row(values + row * in_, in_, reinterpret_cast<uint8_t*>(target + offset(row)), largest_);
  }
}

void StoredValues::read(int64_t begin, int64_t count, float* values) const {
  convert_to_f32(dtype_, values_.get() + offset(begin), values, static_cast<size_t>(count * in_));
}

}  // namespace fx
