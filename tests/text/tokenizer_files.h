// Tokenizer folders for the tests: those of the repository, copies of them with some files changed, and golden data.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "support/temp_folder.h"

namespace fx::test {

inline std::filesystem::path data_folder() { return std::filesystem::path(FLUXSWAP_SOURCE_DIR) / "tests" / "data"; }
inline std::filesystem::path tiny_folder(const std::string& name) { return data_folder() / "tiny_tokenizers" / name; }

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("test data is missing: " + path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_file(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

inline nlohmann::json read_golden(const std::string& name) {
  return nlohmann::json::parse(read_file(data_folder() / name));
}

// A copy of a tiny tokenizer, to be damaged.
inline void copy_tiny(const std::string& name, const std::filesystem::path& to) {
  std::filesystem::create_directories(to);
  std::filesystem::copy(tiny_folder(name), to, std::filesystem::copy_options::recursive);
}

}  // namespace fx::test
