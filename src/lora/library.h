// Adapters already read and made ready for the device, so that a second use costs a look at the file's size and time,
// and copies.
//
// Least recently used ones go when a byte budget is exceeded; pinned ones stay. Files can be read ahead in the
// background. All methods are thread-safe, and two threads that ask for one file read it once.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <future>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "lora/adapter.h"
#include "lora/target.h"

namespace fx {

// What a library has done since it was made, and what it holds.
struct LibraryStatistics {
  uint64_t hits = 0;      // uses of an adapter that was there, or was being read already
  uint64_t misses = 0;    // uses that had to read the file
  uint64_t preloads = 0;  // files read ahead
  uint64_t evictions = 0;
  uint64_t swaps = 0;
  size_t adapters = 0;
  uint64_t bytes = 0;       // host memory of the adapters
  double load_seconds = 0;  // spent in reading files, on any thread
  double swap_seconds = 0;
};

class AdapterLibrary {
 public:
  using Path = std::filesystem::path;

  // `target` must outlive the library. `byte_budget` limits the host memory of what is kept; adapters in use elsewhere
  // stay alive whatever the library drops.
  explicit AdapterLibrary(const AdapterTarget& target, uint64_t byte_budget = uint64_t{2} << 30);
  ~AdapterLibrary();  // waits for a file that is being read ahead
  AdapterLibrary(const AdapterLibrary&) = delete;
  AdapterLibrary& operator=(const AdapterLibrary&) = delete;

  // The adapter in a file; read again when the file's size or time has changed. Throws as read_adapter. `was_cached`, if
  // given, says whether the file was not read by this call.
  std::shared_ptr<const Adapter> get(const Path& path, bool* was_cached = nullptr);

  // Exempts a file from the budget, now and after it has changed. Does not read it.
  void pin(const Path& path);
  void unpin(const Path& path);

  // Reads files on a thread of the library's own, in this order. A file that cannot be read is passed over: whoever
  // gets it is told.
  void preload(const std::vector<Path>& paths);
  // Returns when all of them are there.
  void wait_for_preloads();

  // What a swap of adapters cost, for the statistics.
  void note_swap(double seconds);

  LibraryStatistics statistics() const;
  uint64_t bytes() const { return statistics().bytes; }

 private:
  // A file as it was when it was read.
  struct File {
    Path path;  // canonical
    uint64_t size = 0;
    std::filesystem::file_time_type time;
    bool operator==(const File&) const = default;
  };
  struct Entry {
    File file;
    std::shared_future<std::shared_ptr<const Adapter>> adapter;
    uint64_t bytes = 0;
    bool loaded = false;
  };
  using Entries = std::list<std::shared_ptr<Entry>>;
  using Promise = std::promise<std::shared_ptr<const Adapter>>;

  static File look_at(const Path& path);
  std::shared_ptr<const Adapter> fetch(const Path& path, bool& was_cached, uint64_t& reads);
  std::shared_ptr<Entry> find_or_add(const File& file, Promise& promise, bool& was_cached);
  void read(const Path& path, Entry& entry, Promise& promise);
  Entries::iterator find(const Path& canonical);
  uint64_t total() const;
  void trim();
  void run_preloads();

  const AdapterTarget* target_;
  uint64_t byte_budget_;
  mutable std::mutex mutex_;  // guards all below; never held while a file is read
  Entries entries_;           // most recently used first
  std::set<Path> pinned_;     // canonical
  LibraryStatistics done_;    // but for what is counted when asked
  std::deque<Path> queue_;    // to be read ahead
  bool reading_ahead_ = false, stopping_ = false;
  std::condition_variable wake_, idle_;
  std::thread reader_;  // started when first needed
};

}  // namespace fx
