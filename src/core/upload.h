// Much data to a device, by several threads: each copies into memory of its own that the device reads directly, while the
// others' is on its way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "core/runtime.h"

namespace fx {

class UploadLanes {
 public:
  // The most bytes that callers should send in one transfer, if a row is not larger.
  static constexpr size_t kTransfer = kTransferBytes;
  // More threads than that copy no faster than a device takes, or gives.
  static constexpr int64_t kMost = 8;
  // Rows of that many bytes in one transfer.
  static int64_t rows_for(size_t row_bytes);

  // For transfers of at most `bytes` each, and as many lanes as `total` bytes are worth: fewer where the device has no memory
  // for more. Throws out_of_memory where it has not enough for one.
  UploadLanes(Runtime& runtime, size_t bytes, size_t total);

  // Puts the bytes of a transfer there and returns their number. On any thread, several at a time.
  using Fill = std::function<size_t(size_t transfer, std::byte* target)>;
  // Issues the work that takes them from this device memory, in the order of the engine's work. On any thread, one at a time.
  using Place = std::function<void(size_t transfer, std::byte* arrived)>;

  // Fills and places `count` transfers, in any order, and waits for the work on them. Allocates no device memory. The first
  // error of any thread is thrown here, and ends the work of the others.
  void run(size_t count, const Fill& fill, const Place& place);

 private:
  std::vector<std::unique_ptr<Staging>> lanes_;
  std::mutex issue_;  // a device takes work from one thread at a time
};

}  // namespace fx
