// Adapters already read, so that a second use costs no file access but a look at size and time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <list>
#include <memory>
#include <mutex>

#include "lora/adapter.h"
#include "lora/target.h"

namespace fx {

class AdapterLibrary {
 public:
  // `target` must outlive the library. `byte_budget` limits the host memory of what is kept; adapters in use elsewhere
  // stay alive whatever the library drops.
  explicit AdapterLibrary(const AdapterTarget& target, uint64_t byte_budget = uint64_t{2} << 30);

  // The adapter in a file; read again when the file's size or time has changed. Throws as read_adapter. Thread-safe;
  // `was_cached`, if given, says whether the file was not read.
  std::shared_ptr<const Adapter> get(const std::filesystem::path& path, bool* was_cached = nullptr);

  uint64_t bytes() const;

 private:
  struct Entry {
    std::filesystem::path path;  // canonical
    uint64_t file_size;
    std::filesystem::file_time_type time;
    std::shared_ptr<const Adapter> adapter;
  };
  void trim();

  const AdapterTarget* target_;
  uint64_t byte_budget_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // most recently used first
};

}  // namespace fx
