// A device that hands everything on to another: for tests that change one thing about it.
#pragma once

#include <memory>

#include "core/runtime.h"

namespace fx::test {

class ForwardingRuntime : public Runtime {
 public:
  explicit ForwardingRuntime(Runtime& inner) : inner_(inner) {}
  std::string device_name() const override { return inner_.device_name(); }
  void* allocate(size_t bytes) override { return inner_.allocate(bytes); }
  void release(void* data, size_t bytes) noexcept override { inner_.release(data, bytes); }
  void copy(void* target, const void* source, size_t bytes, CopyKind kind) override {
    inner_.copy(target, source, bytes, kind);
  }
  void fill_zero(void* target, size_t bytes) override { inner_.fill_zero(target, bytes); }
  void synchronize() override { inner_.synchronize(); }
  MemoryInfo memory() const override { return inner_.memory(); }
  size_t available() const override { return inner_.available(); }
  std::unique_ptr<Staging> stage(size_t bytes) override { return inner_.stage(bytes); }
  bool records() const override { return inner_.records(); }
  std::unique_ptr<Recording> record(const std::function<void()>& work) override { return inner_.record(work); }

 private:
  Runtime& inner_;
};

}  // namespace fx::test
