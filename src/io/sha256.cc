#include "io/sha256.h"

#include <openssl/evp.h>

#include <array>
#include <fstream>
#include <memory>
#include <vector>

#include "core/error.h"

namespace fx {
namespace {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    check(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1, ErrorCode::internal,
          "cannot start SHA-256");
  }
  void update(const void* data, size_t bytes) {
    check(EVP_DigestUpdate(context_.get(), data, bytes) == 1, ErrorCode::internal, "SHA-256 failed");
  }
  std::string hex() {
    std::array<unsigned char, 32> digest{};
    check(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) == 1, ErrorCode::internal, "SHA-256 failed");
    std::string text;
    for (const unsigned char byte : digest) text += fmt::format("{:02x}", byte);
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::string sha256_hex(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes.data(), bytes.size());
  return hash.hex();
}

std::string sha256_file(const std::filesystem::path& path, uint64_t begin) {
  std::error_code ignored;
  std::ifstream file(path, std::ios::binary);
  check(file.is_open() && !std::filesystem::is_directory(path, ignored), ErrorCode::bad_file,
        "{}: cannot open the file to hash it", path.string());
  file.seekg(static_cast<std::streamoff>(begin));
  Sha256 hash;
  std::vector<char> chunk(1 << 20);
  while (file) {
    file.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
    hash.update(chunk.data(), static_cast<size_t>(file.gcount()));
  }
  check(!file.bad(), ErrorCode::bad_file, "{}: reading failed", path.string());
  return hash.hex();
}

}  // namespace fx
