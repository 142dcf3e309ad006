// The fingerprints by which others know an adapter file. Hashing takes longer than reading, and only reports and the
// texts of pictures want the result, so it is done when first asked for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace fx {

class FileHash {
 public:
  FileHash() = default;  // of no file: all digests are empty
  // Notes size and time of the file, so that the digests are of these bytes or empty. `data_begin` is where the data
  // follow the header.
  FileHash(std::filesystem::path path, uint64_t data_begin);

  // Each reads the file the first time. Empty when the file has changed since, or cannot be read. Thread-safe; copies
  // share the work.
  std::string sha256() const;  // 64 hexadecimal digits
  std::string autov2() const;  // the first ten of them: stable-diffusion-webui, Civitai
  std::string autov3() const;  // the first twelve of the hash of the data alone, which edited metadata leave as it is

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace fx
