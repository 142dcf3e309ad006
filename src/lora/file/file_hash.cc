#include "lora/file/file_hash.h"

#include <mutex>
#include <optional>

#include "core/error.h"
#include "io/sha256.h"

namespace fx {

namespace fs = std::filesystem;

struct FileHash::State {
  fs::path path;
  uint64_t data_begin;
  uint64_t size;
  fs::file_time_type time;
  std::mutex mutex;
  std::optional<std::string> whole, data;

  State(fs::path file, uint64_t begin) : path(std::move(file)), data_begin(begin) {
    std::error_code ignored;
    size = fs::file_size(path, ignored);
    time = fs::last_write_time(path, ignored);
  }

  bool unchanged() const {
    std::error_code ignored;
    return fs::file_size(path, ignored) == size && fs::last_write_time(path, ignored) == time;
  }

  std::string digest(std::optional<std::string>& known, uint64_t begin) {
    const std::lock_guard lock(mutex);
    if (!known) known = hash_from(begin);
    return *known;
  }

  std::string hash_from(uint64_t begin) const {
    try {
      std::string digits = sha256_file(path, begin);
      return unchanged() ? digits : "";
    } catch (const Error&) { return ""; }
  }
};

FileHash::FileHash(fs::path path, uint64_t data_begin) : state_(std::make_shared<State>(std::move(path), data_begin)) {}

std::string FileHash::sha256() const { return state_ ? state_->digest(state_->whole, 0) : ""; }

std::string FileHash::autov2() const { return sha256().substr(0, 10); }

std::string FileHash::autov3() const {
  return state_ ? state_->digest(state_->data, state_->data_begin).substr(0, 12) : "";
}

}  // namespace fx
