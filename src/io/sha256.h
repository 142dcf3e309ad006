// SHA-256, the fingerprint by which models and adapters are known to others. "AutoV2", the short hash that
// stable-diffusion-webui users know, is the first ten digits of the hash of the file.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace fx {

// 64 lower-case hexadecimal digits.
std::string sha256_hex(std::span<const std::byte> bytes);

// Reads the file once, in pieces. Throws bad_file when it cannot be read.
std::string sha256_file(const std::filesystem::path& path);

}  // namespace fx
