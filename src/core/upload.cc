#include "core/upload.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "core/error.h"
#include "core/parallel.h"

namespace fx {

int64_t UploadLanes::rows_for(size_t row_bytes) {
  return static_cast<int64_t>(std::max<size_t>(kTransfer / std::max<size_t>(row_bytes, 1), 1));
}

UploadLanes::UploadLanes(Runtime& runtime, size_t bytes, size_t total) {
  if (total == 0) return;
  lanes_.push_back(runtime.stage(bytes));
  const size_t useful = std::clamp<size_t>(std::thread::hardware_concurrency(), 1, kMost);
  try {
    while (lanes_.size() < std::min(useful, 1 + total / kTransfer)) lanes_.push_back(runtime.stage(bytes));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::out_of_memory) throw;
  }
}

void UploadLanes::run(size_t count, const Fill& fill, const Place& place) {
  std::atomic<size_t> next{0};
  const auto work = [&](Staging& lane) {
    for (size_t transfer = next++; transfer < count; transfer = next++) {
      lane.wait();
      const size_t bytes = fill(transfer, lane.host());
      const std::lock_guard lock(issue_);
      lane.send(bytes);
      place(transfer, const_cast<std::byte*>(lane.arrive()));
    }
    lane.wait();
  };
  parallel_for(static_cast<int64_t>(lanes_.size()), [&](int64_t i) {
    try {
      work(*lanes_[static_cast<size_t>(i)]);
    } catch (...) {
      next = count;
      throw;
    }
  });
}

}  // namespace fx
