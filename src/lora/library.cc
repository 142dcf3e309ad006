#include "lora/library.h"

#include <algorithm>
#include <system_error>

#include "core/error.h"
#include "lora/read.h"

namespace fx {

namespace fs = std::filesystem;

AdapterLibrary::AdapterLibrary(const AdapterTarget& target, uint64_t byte_budget)
    : target_(&target), byte_budget_(byte_budget) {}

std::shared_ptr<const Adapter> AdapterLibrary::get(const fs::path& path, bool* was_cached) {
  std::error_code error;
  const fs::path canonical = fs::canonical(path, error);
  check(!error, ErrorCode::bad_file, "{}: cannot open: {}", path.string(), error.message());
  const auto time = fs::last_write_time(canonical, error);
  const uint64_t size = fs::is_regular_file(canonical, error) ? fs::file_size(canonical, error) : 0;

  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(entries_, canonical, &Entry::path);
  const bool fresh = found != entries_.end() && found->file_size == size && found->time == time;
  if (was_cached) *was_cached = fresh;
  if (fresh) {
    entries_.splice(entries_.begin(), entries_, found);
    return entries_.front().adapter;
  }
  auto adapter = std::make_shared<const Adapter>(read_adapter(path, *target_));
  if (found != entries_.end()) entries_.erase(found);
  entries_.push_front({canonical, size, time, adapter});
  trim();
  return adapter;
}

void AdapterLibrary::trim() {
  uint64_t total = 0;
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    total += entry->adapter->bytes();
    entry = total > byte_budget_ ? entries_.erase(entry) : std::next(entry);
  }
}

uint64_t AdapterLibrary::bytes() const {
  const std::lock_guard lock(mutex_);
  uint64_t total = 0;
  for (const Entry& entry : entries_) total += entry.adapter->bytes();
  return total;
}

}  // namespace fx
