#include "lora/library.h"

#include <algorithm>
#include <chrono>
#include <system_error>

#include "core/error.h"
#include "lora/file/read.h"

namespace fx {

namespace fs = std::filesystem;

AdapterLibrary::AdapterLibrary(const AdapterTarget& target, uint64_t byte_budget)
    : target_(&target), byte_budget_(byte_budget) {}

AdapterLibrary::~AdapterLibrary() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (reader_.joinable()) reader_.join();
}

AdapterLibrary::File AdapterLibrary::look_at(const Path& path) {
  std::error_code error;
  File file{.path = fs::canonical(path, error)};
  check(!error, ErrorCode::bad_file, "{}: cannot open: {}", path.string(), error.message());
  file.time = fs::last_write_time(file.path, error);
  file.size = fs::is_regular_file(file.path, error) ? fs::file_size(file.path, error) : 0;
  return file;
}

std::shared_ptr<const Adapter> AdapterLibrary::get(const Path& path, bool* was_cached) {
  bool cached = false;
  auto adapter = fetch(path, cached, done_.misses);
  if (was_cached) *was_cached = cached;
  const std::lock_guard lock(mutex_);
  if (cached) ++done_.hits;
  return adapter;
}

std::shared_ptr<const Adapter> AdapterLibrary::fetch(const Path& path, bool& was_cached, uint64_t& reads) {
  const File file = look_at(path);
  Promise promise;
  std::shared_ptr<Entry> entry;
  {
    const std::lock_guard lock(mutex_);
    entry = find_or_add(file, promise, was_cached);
    if (!was_cached) ++reads;
  }
  if (!was_cached) read(path, *entry, promise);
  return entry->adapter.get();  // waits when another thread is reading, and throws what that one met
}

// The entry moves to the front. A new one is to be filled through the promise.
std::shared_ptr<AdapterLibrary::Entry> AdapterLibrary::find_or_add(const File& file, Promise& promise,
                                                                   bool& was_cached) {
  const auto found = find(file.path);
  was_cached = found != entries_.end() && (*found)->file == file;
  if (was_cached) {
    entries_.splice(entries_.begin(), entries_, found);
    return entries_.front();
  }
  if (found != entries_.end()) entries_.erase(found);
  entries_.push_front(std::make_shared<Entry>(Entry{.file = file, .adapter = promise.get_future().share()}));
  return entries_.front();
}

void AdapterLibrary::read(const Path& path, Entry& entry, Promise& promise) {
  const auto start = std::chrono::steady_clock::now();
  try {
    auto adapter = std::make_shared<const Adapter>(ready_for_slots(read_adapter(path, *target_)));
    const std::lock_guard lock(mutex_);
    done_.load_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    entry.bytes = adapter->bytes();
    entry.loaded = true;
    promise.set_value(std::move(adapter));
    trim();
  } catch (...) {
    const std::lock_guard lock(mutex_);
    entries_.remove_if([&](const auto& other) { return other.get() == &entry; });
    promise.set_exception(std::current_exception());
  }
}

AdapterLibrary::Entries::iterator AdapterLibrary::find(const Path& canonical) {
  return std::ranges::find_if(entries_, [&](const auto& entry) { return entry->file.path == canonical; });
}

uint64_t AdapterLibrary::total() const {
  uint64_t bytes = 0;
  for (const auto& entry : entries_) bytes += entry->bytes;
  return bytes;
}

void AdapterLibrary::trim() {
  uint64_t bytes = total();
  for (auto entry = entries_.end(); bytes > byte_budget_ && entry != entries_.begin();) {
    --entry;
    if (!(*entry)->loaded || pinned_.contains((*entry)->file.path)) continue;
    bytes -= (*entry)->bytes;
    entry = entries_.erase(entry);
    ++done_.evictions;
  }
}

void AdapterLibrary::pin(const Path& path) {
  const Path canonical = look_at(path).path;
  const std::lock_guard lock(mutex_);
  pinned_.insert(canonical);
}

void AdapterLibrary::unpin(const Path& path) {
  const Path canonical = fs::weakly_canonical(path);  // the file may be gone
  const std::lock_guard lock(mutex_);
  pinned_.erase(canonical);
  trim();
}

void AdapterLibrary::preload(const std::vector<Path>& paths) {
  const std::lock_guard lock(mutex_);
  queue_.insert(queue_.end(), paths.begin(), paths.end());
  if (!reader_.joinable()) reader_ = std::thread([this] { run_preloads(); });
  wake_.notify_all();
}

void AdapterLibrary::wait_for_preloads() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [&] { return queue_.empty() && !reading_ahead_; });
}

void AdapterLibrary::run_preloads() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    const Path path = std::move(queue_.front());
    queue_.pop_front();
    reading_ahead_ = true;
    lock.unlock();
    try {
      bool was_cached = false;
      fetch(path, was_cached, done_.preloads);
    } catch (const std::exception&) {}  // said to whoever gets it
    lock.lock();
    reading_ahead_ = false;
    idle_.notify_all();
  }
}

void AdapterLibrary::note_swap(double seconds) {
  const std::lock_guard lock(mutex_);
  ++done_.swaps;
  done_.swap_seconds += seconds;
}

LibraryStatistics AdapterLibrary::statistics() const {
  const std::lock_guard lock(mutex_);
  LibraryStatistics now = done_;
  now.bytes = total();
  now.adapters = static_cast<size_t>(std::ranges::count_if(entries_, [](const auto& entry) { return entry->loaded; }));
  return now;
}

}  // namespace fx
