// A device as seen by everything above the back-ends: memory, and copies in stream order.
//
// All work issued through one Runtime (and the Ops made for it) runs in the order of the calls, possibly after the calls
// have returned; `synchronize` waits for it. The host implementation is synchronous.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace fx {

// What is copied to or from a device in pieces is best copied in pieces of this size.
inline constexpr size_t kTransferBytes = size_t{16} << 20;

enum class CopyKind { host_to_device, device_to_host, device_to_device };

struct MemoryInfo {
  size_t current_bytes = 0;  // allocated through this runtime now
  size_t peak_bytes = 0;     // most ever
};

// Bytes on their way to the device, beside the work that is in progress there. The host fills `host()`, `send` starts the
// transfer, and work issued on the Runtime after `arrive` finds them in device memory.
class Staging {
 public:
  virtual ~Staging() = default;
  virtual std::byte* host() = 0;
  virtual size_t bytes() const = 0;
  // The first `bytes` of them. The host part stays as it is until `wait`.
  virtual void send(size_t bytes) = 0;
  // Where they are in device memory, for work that this thread issues from now on. Does not wait on the host.
  virtual const std::byte* arrive() = 0;
  // Waits for the work issued so far, after which the host may fill again.
  virtual void wait() = 0;
};

// A sequence of operations that can be run again as one: a captured graph.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void replay() = 0;
};

// A place in the work that has been issued.
class Mark {
 public:
  virtual ~Mark() = default;
  // Waits for the work before it. Throws what `synchronize` throws, and then nothing is in flight.
  virtual void wait() = 0;
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
  // After what has been issued so far. Null where calls return when their work is done.
  virtual std::unique_ptr<Mark> mark() { return nullptr; }
  virtual MemoryInfo memory() const = 0;
  // What could still be allocated, about.
  virtual size_t available() const { return SIZE_MAX; }
  // Main memory that nobody uses, or that the system can free at once, about.
  virtual size_t host_available() const;

  // Copies device memory that no work in flight writes to the host, and waits for this alone. Thread-safe; much of it comes
  // faster in several threads.
  virtual void fetch(void* target, const void* source, size_t bytes);

  // Memory for a transfer. Thread-safe. Throws out_of_memory.
  virtual std::unique_ptr<Staging> stage(size_t bytes);

  // Runs `work`, and all that it issues: beside what other threads issue, as far as the device can, and waits for that alone.
  // For operations that need no memory of the back-end's own: copies, merge_lora, fold_loras. Thread-safe. What they read
  // and write must be used by nobody else meanwhile.
  virtual void beside(const std::function<void()>& work) { work(); }

  // Whether `record` is worth while here.
  virtual bool records() const { return false; }
  // Records the operations that `work` issues, without running them. They have run once with these shapes before, so that
  // nothing is allocated. Throws unsupported where records() is false.
  virtual std::unique_ptr<Recording> record(const std::function<void()>& work);
};

// The CPU. Beyond `limit` bytes at a time `allocate` throws out_of_memory: the system itself would say yes to everything, and
// kill the process when the memory is used.
std::unique_ptr<Runtime> make_host_runtime(size_t limit = SIZE_MAX);

// What this process may use: the machine's memory, or the container's if that is less.
size_t host_memory_bytes();

}  // namespace fx
