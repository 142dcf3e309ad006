// A whole file mapped for reading. Pages come in when they are touched; nothing is read ahead of need.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace fx {

class MmapFile {
 public:
  // Throws bad_file for a path that is missing, is a folder, is empty, or cannot be opened. The file must not be
  // shortened while it is mapped.
  explicit MmapFile(std::filesystem::path path);
  ~MmapFile();
  MmapFile(MmapFile&& other) noexcept;
  MmapFile& operator=(MmapFile&&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

  // Tells the system that the pages of `range` (a part of bytes()) are not needed for now, so that resident memory does
  // not grow while weights are copied out. Reading the range again is allowed and maps the pages again.
  void advise_done(std::span<const std::byte> range) const noexcept;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace fx
