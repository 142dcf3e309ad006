// Debug taps: intermediate tensors by module path, so that the first layer that differs from another implementation can
// be found by name. Without a sink a tap costs one comparison.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ops/ops.h"

namespace fx {

struct HostTensor {
  std::string name;
  Shape shape;
  std::vector<float> values;
};

class Taps {
 public:
  // Copies `tensor` (f32, any strides) to the host under `name`; waits for the device.
  void record(Ops& ops, const std::string& name, const Tensor& tensor);
  const std::vector<HostTensor>& tensors() const { return tensors_; }

 private:
  std::vector<HostTensor> tensors_;
};

// Copies an f32 tensor of any strides to the host; waits for the device. Allocates; not for the step loop.
std::vector<float> download(Ops& ops, const Tensor& tensor);
// Copies dense f32 values to a dense device tensor; waits for the device.
void upload(Ops& ops, const std::vector<float>& values, const Tensor& tensor);
void upload(Ops& ops, const std::vector<int32_t>& values, const Tensor& tensor);

}  // namespace fx
