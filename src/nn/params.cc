#include "nn/params.h"

namespace fx {

const Param& ParamStore::declare(const std::string& name, const Shape& file_shape, ParamLayout layout, ParamRole role,
                                 int64_t parts) {
  Shape shape = file_shape;
  if (layout == ParamLayout::channels_last) shape = {file_shape[0], file_shape[2], file_shape[3], file_shape[1]};
  const DType dtype = types_.of(role);
  const int64_t front = types_.front_of(role, parts);
  Shape whole = shape;
  if (front > 0) whole[1] += front;
  const Tensor memory = allocate(dtype, whole);
  Param& param = params_.emplace_back(Param{name, file_shape, layout, role, memory, {}, {}, {}});
  if (front > 0) {
    param.front = memory.slice(1, 0, front);
    param.tensor = memory.slice(1, front, whole[1]);
  }
  if (dtype == DType::f8_e4m3) param.scale = allocate(DType::f32, {shape[0]});
  if (role == ParamRole::block_linear && types_.masters) param.master = allocate(types_.plain, shape);
  return param;
}

LoraSlot* ParamStore::declare_slot(const std::string& module, const Param& weight) {
  return &slots_.emplace_back(LoraSlot{module, weight.tensor.size(1), weight.tensor.size(0), &weight});
}

int64_t ParamStore::parameter_count() const {
  int64_t count = 0;
  for (const Param& param : params_) count += param.tensor.count();
  return count;
}

}  // namespace fx
