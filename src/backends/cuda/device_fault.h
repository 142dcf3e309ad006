// What kernels find wrong in device memory: a step outside of its table, a broken LoRA segment, a bad id, latents that are
// not finite. The host cannot look before a launch without waiting, so kernels note the first fault, read nothing out of
// bounds, and `synchronize` throws. A result behind a fault is never used.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace fx::cuda {

enum class FaultKind : int32_t {
  none,
  step_of_table,
  step_of_schedule,
  id_of_table,
  lora_count,
  lora_segment,
  not_finite
};

// Lies in pinned host memory that the device writes to.
struct DeviceFault {
  FaultKind kind;
  int32_t values[6];
};

// Throws Error(internal), or device for what is not finite, in the words of the other back-ends, and clears the fault, if
// there is one.
void throw_fault(DeviceFault& fault);

// Whether there is one. The device may be writing it.
bool noted(const DeviceFault& fault);

}  // namespace fx::cuda
