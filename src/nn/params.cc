#include "nn/params.h"

#include <utility>

namespace fx {

const Param& ParamStore::declare(const std::string& name, const Shape& file_shape, ParamLayout layout, ParamRole role,
                                 int64_t parts) {
  Shape shape = file_shape;
  if (layout == ParamLayout::channels_last) shape = {file_shape[0], file_shape[2], file_shape[3], file_shape[1]};
  const DType dtype = types_.of(role);
  const bool aligned = shape.rank() == 2 && shape[0] % kFrontStep == 0 && shape[1] % kFrontStep == 0;
  const int64_t front = aligned ? types_.front_of(role, parts) : 0;
  Shape whole = shape;
  if (front > 0) whole[1] += front;
  const Tensor memory = allocate(dtype, whole);
  Param& param = params_.emplace_back(Param{.name = name, .file_shape = file_shape, .layout = layout, .role = role, .tensor = memory});
  if (front > 0) {
    param.front = memory.slice(1, 0, front);
    param.tensor = memory.slice(1, front, whole[1]);
    param.down = allocate(DType::f8_e4m3, {front, shape[1]});
    param.column_scale = allocate(DType::f32, {front});
  }
  if (dtype == DType::f8_e4m3) param.scale = allocate(DType::f32, {shape[0]});
  if (role != ParamRole::block_linear || !types_.masters) return param;
  param.master = allocate(types_.plain, shape);
  if (types_.weight_sets > 1) {
    param.next = allocate(dtype, shape);
    if (dtype == DType::f8_e4m3) param.next_scale = allocate(DType::f32, {shape[0]});
  }
  return param;
}

LoraSlot* ParamStore::declare_slot(const std::string& module, const Param& weight) {
  return &slots_.emplace_back(LoraSlot{module, weight.tensor.size(1), weight.tensor.size(0), &weight});
}

void ParamStore::exchange_weight_sets() {
  for (Param& param : params_) {
    if (!param.next.defined()) continue;
    std::swap(param.tensor, param.next);
    std::swap(param.scale, param.next_scale);
  }
}

int64_t ParamStore::parameter_count() const {
  int64_t count = 0;
  for (const Param& param : params_) count += param.tensor.count();
  return count;
}

}  // namespace fx
