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
  // Copies `tensor` (any floating type and strides) to the host under `name`; waits for the device.
  void record(Ops& ops, const std::string& name, const Tensor& tensor);
  const std::vector<HostTensor>& tensors() const { return tensors_; }

 private:
  std::vector<HostTensor> tensors_;
};

// Copies a floating tensor of any strides to the host, as f32; waits for the device. Allocates; not for the step loop.
std::vector<float> download(Ops& ops, const Tensor& tensor);
// Whether a dense tensor of f32 or bf16 holds neither infinity nor NaN; waits for the device.
bool all_finite(Ops& ops, const Tensor& tensor);
// Copies dense values to a dense device tensor, rounded to its type; waits for the device.
void upload(Ops& ops, const std::vector<float>& values, const Tensor& tensor);
void upload(Ops& ops, const std::vector<int32_t>& values, const Tensor& tensor);

}  // namespace fx
