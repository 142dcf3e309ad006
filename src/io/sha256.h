// SHA-256, the fingerprint by which models and adapters are known to others. "AutoV2", the short hash that
// stable-diffusion-webui users know, is the first ten digits of the hash of the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace fx {

// 64 lower-case hexadecimal digits.
std::string sha256_hex(std::span<const std::byte> bytes);

// Of the bytes from `begin` on. Reads them once, in pieces. Throws bad_file when the file cannot be read.
std::string sha256_file(const std::filesystem::path& path, uint64_t begin = 0);

}  // namespace fx
