// A file that appears complete under its name, or not at all.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace fx {

// Writes to a temporary file in the target's folder and renames it in `commit`. Without `commit` (an exception, a
// failed write) the temporary file is removed and an older file under the name stays as it was. A target that is a
// device or a pipe (/dev/null, /dev/stdout) is written directly. All failures throw Error(device), naming the target
// and the cause.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

  // Flushes to the disk and gives the file its name. No write may follow.
  void commit();

 private:
  [[noreturn]] void fail_with(int system_error) const;

  std::filesystem::path target_;
  std::filesystem::path temporary_;  // empty when the target is written directly
  int file_ = -1;
};

}  // namespace fx
