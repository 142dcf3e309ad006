// The operands of a case where a back-end can reach them.
#pragma once

#include <functional>

#include "core/buffer.h"
#include "ops/ops.h"
#include "parity/operands.h"

namespace fx::test {

// A copy of all operands, guards included, in the memory of a runtime; views keep their places.
class DeviceOperands {
 public:
  DeviceOperands(Operands& host, Runtime& runtime) : host_(host), runtime_(runtime) {
    for (auto& owned : host.buffers()) {
      const auto bytes = static_cast<int64_t>(owned.buffer.guarded_bytes().size());
      copies_.emplace_back(runtime, DType::u8, Shape{bytes});
    }
    for (const auto& [name, view] : host.views()) device_.view(name, view.moved_to(address_of(view)));
  }

  const Operands& operands() const { return device_; }

  void upload() {
    for (size_t i = 0; i < copies_.size(); ++i) {
      const auto host = host_.buffers()[i].buffer.guarded_bytes();
      runtime_.copy(copies_[i].tensor().raw(), host.data(), host.size(), CopyKind::host_to_device);
    }
    runtime_.synchronize();
  }
  void download() {
    for (size_t i = 0; i < copies_.size(); ++i) {
      const auto host = host_.buffers()[i].buffer.guarded_bytes();
      runtime_.copy(host.data(), copies_[i].tensor().raw(), host.size(), CopyKind::device_to_host);
    }
    runtime_.synchronize();
  }

 private:
  void* address_of(const Tensor& view) {
    for (size_t i = 0; i < copies_.size(); ++i) {
      const auto host = host_.buffers()[i].buffer.guarded_bytes();
      const auto* at = static_cast<const uint8_t*>(view.raw());
      if (at < host.data() || at >= host.data() + host.size()) continue;
      return copies_[i].tensor().data<uint8_t>() + (at - host.data());
    }
    return nullptr;
  }

  Operands& host_;
  Runtime& runtime_;
  std::vector<Buffer> copies_;
  Operands device_{"device"};
};

// Runs on the operands themselves, or on a copy in device memory that comes back afterwards. Waits for the end, so that
// faults which a device finds late are thrown here.
inline void run_where(Ops& ops, Operands& operands, const std::function<void(const Operands&)>& run) {
  if (ops.backend_name() != "cuda") {
    run(operands);
    ops.runtime().synchronize();
    return;
  }
  DeviceOperands device(operands, ops.runtime());
  device.upload();
  run(device.operands());
  ops.runtime().synchronize();
  device.download();
}

}  // namespace fx::test
