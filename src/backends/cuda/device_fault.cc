#include "backends/cuda/device_fault.h"

#include "core/error.h"

namespace fx::cuda {

bool noted(const DeviceFault& fault) { return static_cast<const volatile FaultKind&>(fault.kind) != FaultKind::none; }

void throw_fault(DeviceFault& fault) {
  const DeviceFault found = fault;
  fault.kind = FaultKind::none;
  const int32_t* v = found.values;
  switch (found.kind) {
    case FaultKind::none: return;
    case FaultKind::step_of_table: fail(ErrorCode::internal, "step {} is outside of a table of {} steps", v[0], v[1]);
    case FaultKind::step_of_schedule:
      fail(ErrorCode::internal, "[euler_step] step {} of a schedule of {} steps", v[0], v[1]);
    case FaultKind::id_of_table:
      fail(ErrorCode::internal, "[embed_rows] id {} is outside of a table of {} rows", v[0], v[1]);
    case FaultKind::lora_count: fail(ErrorCode::internal, "{} LoRA segments, expected 0 to {}", v[0], v[1]);
    case FaultKind::lora_segment:
      fail(ErrorCode::internal,
           "LoRA segment of ranks [{}, +{}) and rows [{}, +{}) is outside of slots of {} ranks, {} rows", v[0], v[1],
           v[2], v[3], v[4], v[5]);
    case FaultKind::not_finite:
      fail(ErrorCode::device, "the latents are not finite after step {} of {}: the weights or an adapter overflow",
           v[0], v[1]);
  }
}

}  // namespace fx::cuda
