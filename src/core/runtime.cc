// What a device without transfers of its own and without recordings does.
#include "core/runtime.h"

#include <new>

#include "core/error.h"

namespace fx {
namespace {

// For devices that read the host's memory.
class HostStaging final : public Staging {
 public:
  explicit HostStaging(size_t bytes) : memory_(std::make_unique_for_overwrite<std::byte[]>(bytes)), bytes_(bytes) {}
  std::byte* host() override { return memory_.get(); }
  size_t bytes() const override { return bytes_; }
  void send(size_t) override {}
  const std::byte* arrive() override { return memory_.get(); }
  void wait() override {}

 private:
  std::unique_ptr<std::byte[]> memory_;
  size_t bytes_;
};

}  // namespace

void Runtime::fetch(void* target, const void* source, size_t bytes) {
  copy(target, source, bytes, CopyKind::device_to_host);
  synchronize();
}

std::unique_ptr<Staging> Runtime::stage(size_t bytes) {
  try {
    return std::make_unique<HostStaging>(bytes);
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::out_of_memory, "cannot allocate {} bytes of host memory", bytes);
  }
}

std::unique_ptr<Recording> Runtime::record(const std::function<void()>&) {
  fail(ErrorCode::unsupported, "{} records no operations", device_name());
}

}  // namespace fx
