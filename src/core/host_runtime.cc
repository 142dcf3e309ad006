// The CPU as a device: aligned heap memory and plain copies.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/runtime.h"

namespace fx {
namespace {

constexpr size_t kAlignment = 64;  // a cache line, and the widest vector register

size_t padded(size_t bytes) { return (std::max<size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment; }

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

class HostRuntime final : public Runtime {
 public:
  explicit HostRuntime(size_t limit) : limit_(limit) {}

  std::string device_name() const override { return "cpu"; }

  void* allocate(size_t bytes) override {
    const size_t used = current_.load();
    check(bytes <= limit_ && used <= limit_ - bytes, ErrorCode::out_of_memory,
          "out of memory: {:.2f} GiB more are needed, and {:.2f} of {:.2f} GiB are in use; a smaller picture may fit",
          static_cast<double>(bytes) / kGiB, static_cast<double>(used) / kGiB, static_cast<double>(limit_) / kGiB);
    void* data = bytes > SIZE_MAX / 2 ? nullptr : std::aligned_alloc(kAlignment, padded(bytes));
    check(data != nullptr, ErrorCode::out_of_memory, "cannot allocate {} bytes of host memory", bytes);
    const size_t now = current_.fetch_add(bytes) + bytes;
    size_t peak = peak_.load();
    while (now > peak && !peak_.compare_exchange_weak(peak, now)) {}
    return data;
  }

  void release(void* data, size_t bytes) noexcept override {
    std::free(data);
    current_.fetch_sub(bytes);
  }

  void copy(void* target, const void* source, size_t bytes, CopyKind) override {
    if (bytes > 0) std::memcpy(target, source, bytes);
  }
  void fill_zero(void* target, size_t bytes) override { std::memset(target, 0, bytes); }
  void synchronize() override {}
  MemoryInfo memory() const override { return {current_.load(), peak_.load()}; }
  size_t available() const override { return limit_ - std::min(limit_, current_.load()); }

 private:
  const size_t limit_;
  std::atomic<size_t> current_{0};
  std::atomic<size_t> peak_{0};
};

// The number behind a word of a file.
std::optional<size_t> number_after(const char* path, const std::string& word) {
  std::ifstream file(path);
  size_t number = 0;
  for (std::string read; file >> read;) {
    if (read == word && file >> number) return number;
  }
  return std::nullopt;
}

}  // namespace

std::unique_ptr<Runtime> make_host_runtime(size_t limit) { return std::make_unique<HostRuntime>(limit); }

size_t host_memory_bytes() {
  const auto pages = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)), page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  size_t container = SIZE_MAX;  // the file says "max" where there is no limit
  if (std::ifstream file("/sys/fs/cgroup/memory.max"); !(file >> container)) container = SIZE_MAX;
  return std::min(pages * page, container);
}

// Where the system does not say, all. In a container, what is not of files counts as used, by the newer kind of files that
// say so.
size_t Runtime::host_available() const {
  const size_t all = host_memory_bytes();
  const size_t free = number_after("/proc/meminfo", "MemAvailable:").value_or(SIZE_MAX >> 10) << 10;
  const char* container = "/sys/fs/cgroup/memory.stat";
  const size_t used = number_after(container, "anon").value_or(0) + number_after(container, "shmem").value_or(0);
  return std::min(free, all - std::min(all, used));
}

}  // namespace fx
