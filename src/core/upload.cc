#include "core/upload.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "core/parallel.h"

namespace fx {
UploadLanes::UploadLanes(Runtime& runtime, size_t bytes, size_t transfers) {
  const size_t useful = std::clamp<size_t>(std::thread::hardware_concurrency(), 1, kMost);
  while (lanes_.size() < std::min(useful, transfers)) lanes_.push_back(runtime.stage(bytes));
}

void UploadLanes::run(size_t count, const Fill& fill, const Place& place) {
  std::atomic<size_t> next{0};
  parallel_for(static_cast<int64_t>(lanes_.size()), [&](int64_t i) {
    Staging& lane = *lanes_[static_cast<size_t>(i)];
    for (size_t transfer = next++; transfer < count; transfer = next++) {
      lane.wait();
      const size_t bytes = fill(transfer, lane.host());
      const std::lock_guard lock(issue_);
      lane.send(bytes);
      place(transfer, const_cast<std::byte*>(lane.arrive()));
    }
    const std::lock_guard lock(issue_);
    lane.wait();
  });
}

}  // namespace fx
