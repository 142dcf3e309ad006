// Tells what a file is that was given in place of a safetensors file.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace fx {

// Throws bad_file naming the kind of the file if it is one of those often met (web page, git-LFS pointer, pickle, zip,
// GGUF); returns if it is none of them.
void refuse_foreign_file(std::span<const std::byte> file, const std::string& label);

}  // namespace fx
