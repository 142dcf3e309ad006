#include "io/safetensors_foreign.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include "core/error.h"

namespace fx {
namespace {

struct Kind {
  std::string_view start;  // lower case
  std::string_view description;
};

constexpr Kind kKinds[] = {
    {"version https://git-lfs", "a git-LFS pointer; fetch the real file with 'git lfs pull'"},
    {"<!doctype html", "a web page (HTML); the download address was wrong, or asks for a login"},
    {"<html", "a web page (HTML); the download address was wrong, or asks for a login"},
    {"<?xml", "an XML page; the download address was wrong, or asks for a login"},
    {"gguf", "a GGUF file, which fluxswap does not read here"},
    {"pk\x03\x04", "a zip archive, as PyTorch writes .bin, .pt and .ckpt files; convert it to .safetensors"},
    {"\x80\x02", "a Python pickle, as in .bin, .pt and .ckpt files; convert it to .safetensors"},
    {"\x80\x03", "a Python pickle, as in .bin, .pt and .ckpt files; convert it to .safetensors"},
    {"\x80\x04", "a Python pickle, as in .bin, .pt and .ckpt files; convert it to .safetensors"},
    {"\x80\x05", "a Python pickle, as in .bin, .pt and .ckpt files; convert it to .safetensors"},
    {"\x89png", "a PNG picture"},
};

}  // namespace

void refuse_foreign_file(std::span<const std::byte> file, const std::string& label) {
  constexpr size_t kLongestStart = 64;
  std::string start;
  for (const std::byte byte : file) {
    const int letter = std::to_integer<int>(byte);
    if (start.empty() && letter < 128 && std::isspace(letter)) continue;  // pages may begin with empty lines
    start += static_cast<char>(letter < 128 ? std::tolower(letter) : letter);
    if (start.size() == kLongestStart) break;
  }
  for (const Kind& kind : kKinds) {
    check(!start.starts_with(kind.start), ErrorCode::bad_file, "{}: this is not a safetensors file but {}", label,
          kind.description);
  }
}

}  // namespace fx
