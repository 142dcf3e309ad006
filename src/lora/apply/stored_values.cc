#include "lora/apply/stored_values.h"

#include <algorithm>
#include <cstring>

#include "core/quantize.h"
#include "core/upload.h"

namespace fx {
namespace {

bool is_quantised(const Param& param) { return param.base().dtype() == DType::f8_e4m3; }

}  // namespace

StoredValues::StoredValues(const Param& param)
    : dtype_(param.base().dtype()),
      largest_(param.largest()),
      in_(param.columns()),
      row_bytes_(static_cast<size_t>(in_) * size_of(dtype_)),
      size_(offset(param.file_shape[0])),
      values_(allocate_large(size_)),
      scales_(is_quantised(param) ? static_cast<size_t>(param.file_shape[0]) : 0) {}

StoredValues StoredValues::fetched(Runtime& runtime, const Param& param) {
  StoredValues result(param);
  const Tensor& kept = param.base();
  if (kept.contiguous()) {
    runtime.fetch(result.values_.get(), kept.raw(), result.size_);
  } else {
    result.fetch_apart(runtime, kept);
  }
  if (is_quantised(param))
    runtime.fetch(result.scales_.data(), param.scale.raw(), result.scales_.size() * sizeof(float));
  return result;
}

// Rows that lie beside a front: with it, and then without.
void StoredValues::fetch_apart(Runtime& runtime, const Tensor& kept) {
  const size_t stride = static_cast<size_t>(kept.stride(0)) * size_of(kept.dtype());
  const int64_t rows = kept.size(0), most = std::min(UploadLanes::rows_for(stride), rows);
  const auto apart = std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(most) * stride);
  for (int64_t begin = 0; begin < rows; begin += most) {
    const int64_t count = std::min(most, rows - begin);
    const Tensor block = kept.slice(0, begin, begin + count);
    runtime.fetch(apart.get(), block.raw(), static_cast<size_t>(count - 1) * stride + row_bytes_);
    for (int64_t row = 0; row < count; ++row) {
      std::memcpy(values_.get() + offset(begin + row), apart.get() + static_cast<size_t>(row) * stride, row_bytes_);
    }
  }
}

size_t StoredValues::bytes_of(const Param& param) {
  const auto count = static_cast<size_t>(param.file_shape.count()), rows = static_cast<size_t>(param.file_shape[0]);
  return count * size_of(param.base().dtype()) + (is_quantised(param) ? rows * sizeof(float) : 0);
}

std::span<const std::byte> StoredValues::rows(int64_t begin, int64_t count) const {
  return {values_.get() + offset(begin), offset(count)};
}

std::span<const float> StoredValues::scales(int64_t begin, int64_t count) const {
  return quantised() ? std::span(scales_).subspan(static_cast<size_t>(begin), static_cast<size_t>(count))
                     : std::span<const float>();
}

void StoredValues::write(int64_t begin, int64_t count, const float* values) {
  std::byte* target = values_.get() + offset(begin);
  if (!quantised()) return convert_from_f32(values, dtype_, target, static_cast<size_t>(count * in_));
  for (int64_t row = 0; row < count; ++row) {
    scales_[static_cast<size_t>(begin + row)] =
        quantize_row(values + row * in_, in_, reinterpret_cast<uint8_t*>(target + offset(row)), largest_);
  }
}

void StoredValues::read(int64_t begin, int64_t count, float* values) const {
  convert_to_f32(dtype_, values_.get() + offset(begin), values, static_cast<size_t>(count * in_));
}

}  // namespace fx
