#include "io/mmap_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace fx {
namespace {

struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

}  // namespace

MmapFile::MmapFile(std::filesystem::path path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a pipe that nobody writes to must not hang before we can refuse it.
  const Descriptor file{::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.value < 0) {
    const int cause = errno;
    check(cause != ENOENT, ErrorCode::bad_file, "{}: no such file", path_.string());
    fail(ErrorCode::bad_file, "{}: cannot open the file: {}", path_.string(), std::strerror(cause));
  }
  struct stat status {};
  check(::fstat(file.value, &status) == 0, ErrorCode::bad_file, "{}: cannot read the size of the file: {}",
        path_.string(), std::strerror(errno));
  check(!S_ISDIR(status.st_mode), ErrorCode::bad_file, "{}: expected a file, found a folder", path_.string());
  check(S_ISREG(status.st_mode), ErrorCode::bad_file, "{}: expected a regular file, found a device or a pipe",
        path_.string());
  check(status.st_size > 0, ErrorCode::bad_file, "{}: the file is empty", path_.string());
  size_ = static_cast<size_t>(status.st_size);
  void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.value, 0);
  check(mapped != MAP_FAILED, ErrorCode::out_of_memory, "{}: cannot map {} bytes into memory: {}", path_.string(),
        size_, std::strerror(errno));
  data_ = static_cast<const std::byte*>(mapped);
}

MmapFile::~MmapFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

MmapFile::MmapFile(MmapFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

void MmapFile::advise_done(std::span<const std::byte> range) const noexcept {
  if (range.empty()) return;
  // Outwards to whole pages: dropping a neighbour's page costs it a second look at the page cache, never its contents.
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = static_cast<size_t>(range.data() - data_) / page * page;
  const size_t end = static_cast<size_t>(range.data() - data_) + range.size();
  ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

}  // namespace fx
