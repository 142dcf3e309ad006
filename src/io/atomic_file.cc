#include "io/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace fx {
namespace {

namespace fs = std::filesystem;

// A name of its own, not the target's with an ending: that could be too long for the file system.
fs::path temporary_name(const fs::path& folder) {
  static std::atomic<unsigned> counter{0};
  return folder / fmt::format(".fluxswap-{}-{}.tmp", ::getpid(), counter.fetch_add(1));
}

// The name must survive a crash of the system, too. Not every file system can do it, and the data are safe already.
void sync_folder(const fs::path& folder) noexcept {
  const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return;
  ::fsync(file);
  ::close(file);
}

}  // namespace

AtomicFile::AtomicFile(const fs::path& target) : target_(target) {
  check(!target.empty(), ErrorCode::device, "cannot write a file with an empty name");
  std::error_code ignored;
  const fs::file_status status = fs::status(target, ignored);
  check(!fs::is_directory(status) && target.has_filename(), ErrorCode::device,
        "cannot write {}: it is a folder, expected the name of a file", target.string());
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    file_ = ::open(target.c_str(), O_WRONLY | O_CLOEXEC);
  } else {
    if (fs::is_symlink(fs::symlink_status(target, ignored))) {  // keep the link
      std::error_code error;
      target_ = fs::weakly_canonical(target, error);
      check(!error, ErrorCode::device, "cannot write {}: {}", target.string(), error.message());
    }
    do {
      temporary_ = temporary_name(target_.parent_path());
      file_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (file_ < 0 && errno == EEXIST);  // left behind by a killed process that had our number
  }
  if (file_ < 0) {
    const int cause = errno;
    check(cause != ENOENT, ErrorCode::device, "cannot write {}: the folder does not exist", target.string());
    fail_with(cause);
  }
}

AtomicFile::~AtomicFile() {
  if (file_ < 0) return;
  ::close(file_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_with(errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void AtomicFile::commit() {
  if (temporary_.empty()) {
    const int result = ::close(file_);
    file_ = -1;
    if (result != 0) fail_with(errno);
    return;
  }
  if (::fsync(file_) != 0) fail_with(errno);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail_with(errno);
  ::close(file_);  // after a good fsync there is nothing left that could fail
  file_ = -1;
  sync_folder(target_.has_parent_path() ? target_.parent_path() : fs::path("."));
}

void AtomicFile::fail_with(int system_error) const {
  fail(ErrorCode::device, "cannot write {}: {}", target_.string(), std::strerror(system_error));
}

}  // namespace fx
