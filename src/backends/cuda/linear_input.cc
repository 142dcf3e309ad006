#include "backends/cuda/linear_input.h"

#include <cstdint>

#include "backends/cuda/convert.h"
#include "backends/cuda/cuda_error.h"

namespace fx::cuda {
namespace {

constexpr int64_t kFloatsOf16Bytes = 4;

DType product_type(LinearKind kind) {
  switch (kind) {
    case LinearKind::f32: return DType::f32;
    case LinearKind::outer_vector: return DType::f8_e4m3;
    default: return DType::bf16;
  }
}

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

}  // namespace

LinearInput::LinearInput(const LinearArgs& args, LinearKind kind, ScratchParts& parts)
    : a_(args), type_(product_type(kind)), columns_before_(0) {
  if (kind == LinearKind::outer_vector && a_.weight_front.defined()) columns_before_ = a_.weight_front.size(1);
  // What a layer in e4m3 sees is the same on a GPU that multiplies it in bf16.
  const bool in_e4m3 = a_.weight.dtype() == DType::f8_e4m3 && !a_.weight_only;
  quantises_ = in_e4m3 && a_.x.dtype() != DType::f8_e4m3;
  converts_ = type_ != (in_e4m3 ? DType::f8_e4m3 : a_.x.dtype());
  if (quantises_) {
    quantised_at_ = parts.add(a_.x.size(0) * a_.x.size(1) * (a_.x.size(2) + columns_before_));
    scale_at_ = parts.add(4 * a_.x.size(0) * a_.x.size(1));
  }
  if (converts_) converted_at_ = parts.add(a_.x.count() * static_cast<int64_t>(size_of(type_)));
  if (type_ == DType::f8_e4m3) place_scales(parts);
}

// The product wants the scales of an entry at a multiple of 16 bytes, LoRA wants them without gaps.
void LinearInput::place_scales(ScratchParts& parts) {
  const int64_t entries = a_.x.size(0), rows = a_.x.size(1);
  scale_batch_ = quantises_ || entries == 1 ? rows : a_.x_scale.stride(0);
  const bool begins_well = quantises_ || reinterpret_cast<uintptr_t>(a_.x_scale.raw()) % 16 == 0;
  aligns_scales_ = !begins_well || (entries > 1 && scale_batch_ % kFloatsOf16Bytes != 0);
  packs_scales_ = a_.lora.defined() && a_.front_columns == 0 && scale_batch_ != rows;
  if (aligns_scales_) aligned_at_ = parts.add(4 * entries * round_up(rows, kFloatsOf16Bytes));
  if (packs_scales_) packed_at_ = parts.add(4 * entries * rows);
}

void LinearInput::prepare(std::byte* scratch, const GateFold& fold, DeviceFault* fault, cudaStream_t stream) {
  x_ = a_.x;
  front_ = a_.x_front;
  Tensor scale = a_.x_scale;
  if (quantises_) {
    const int64_t in = a_.x.size(2), columns = in + columns_before_;
    const Tensor wide(scratch + quantised_at_, DType::f8_e4m3, {a_.x.size(0), a_.x.size(1), columns});
    front_ = wide.slice(2, 0, columns_before_);
    x_ = wide.slice(2, columns_before_, columns);
    scale = Tensor(scratch + scale_at_, DType::f32, {a_.x.size(0), a_.x.size(1)});
    quantize_rows(a_.x, {x_.raw(), columns, scale.f32()}, fold, fault, stream);
  } else if (fold.defined()) {
    fold_gate(fold, fault, stream);
  }
  if (converts_) {
    const Tensor converted(scratch + converted_at_, type_, a_.x.shape());
    convert_rows(x_, scale, type_, converted.raw(), stream);
    x_ = converted;
  }
  if (type_ != DType::f8_e4m3) return;
  scale_ = lora_scale_ = scale.f32();
  if (packs_scales_) {
    auto* packed = reinterpret_cast<float*>(scratch + packed_at_);
    copy_scales(packed, a_.x.size(1), stream);
    lora_scale_ = packed;
  }
  if (aligns_scales_) {
    auto* aligned = reinterpret_cast<float*>(scratch + aligned_at_);
    const int64_t pitch = round_up(a_.x.size(1), kFloatsOf16Bytes);
    copy_scales(aligned, pitch, stream);
    scale_ = aligned;
    scale_batch_ = pitch;
  }
}

void LinearInput::copy_scales(float* to, int64_t pitch, cudaStream_t stream) const {
  const auto bytes = [](int64_t floats) { return static_cast<size_t>(4 * floats); };
  check_cuda(cudaMemcpy2DAsync(to, bytes(pitch), scale_, bytes(scale_batch_), bytes(a_.x.size(1)),
                               static_cast<size_t>(a_.x.size(0)), cudaMemcpyDeviceToDevice, stream),
             "copying scales");
}

}  // namespace fx::cuda
