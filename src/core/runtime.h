// A device as seen by everything above the back-ends: memory, and copies in stream order.
//
// All work issued through one Runtime (and the Ops made for it) runs in the order of the calls, possibly after the calls
// have returned; `synchronize` waits for it. The host implementation is synchronous.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace fx {

enum class CopyKind { host_to_device, device_to_host, device_to_device };

struct MemoryInfo {
  size_t current_bytes = 0;  // allocated through this runtime now
  size_t peak_bytes = 0;     // most ever
};

class Runtime {
 public:
  virtual ~Runtime() = default;
  virtual std::string device_name() const = 0;

  // Device memory, aligned to 64 bytes at least. Throws out_of_memory, naming the size. Contents are undefined.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* data, size_t bytes) noexcept = 0;

  // Stream-ordered. Host memory must stay valid until the next `synchronize`.
  virtual void copy(void* target, const void* source, size_t bytes, CopyKind kind) = 0;
  virtual void fill_zero(void* target, size_t bytes) = 0;
  virtual void synchronize() = 0;
  virtual MemoryInfo memory() const = 0;
};

// The CPU. Beyond `limit` bytes at a time `allocate` throws out_of_memory: the system itself would say yes to everything, and
// kill the process when the memory is used.
std::unique_ptr<Runtime> make_host_runtime(size_t limit = SIZE_MAX);

// What this process may use: the machine's memory, or the container's if that is less.
size_t host_memory_bytes();

}  // namespace fx
