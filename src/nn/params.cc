#include "nn/params.h"

namespace fx {

Tensor ParamStore::declare(const std::string& name, const Shape& file_shape, ParamLayout layout) {
  Shape shape = file_shape;
  if (layout == ParamLayout::channels_last) shape = {file_shape[0], file_shape[2], file_shape[3], file_shape[1]};
  const Tensor tensor = buffers_.emplace_back(*runtime_, DType::f32, shape).tensor();
  params_.push_back({name, file_shape, layout, tensor});
  return tensor;
}

LoraSlot* ParamStore::declare_slot(const std::string& module, const Tensor& weight) {
  return &slots_.emplace_back(LoraSlot{module, weight.size(1), weight.size(0), weight, {}});
}

int64_t ParamStore::parameter_count() const {
  int64_t count = 0;
  for (const Param& param : params_) count += param.tensor.count();
  return count;
}

}  // namespace fx
