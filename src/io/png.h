// Pictures as PNG files, with text chunks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace fx {

struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;  // (height, width, 3), row-major
};

// Keyword -> text, both UTF-8.
using PngText = std::map<std::string, std::string>;

struct PngFile {
  Image image;
  PngText text;
};

// Writes 8-bit RGB atomically. Each text becomes a tEXt chunk if Latin-1 can hold it, else an iTXt chunk, which is what
// readers of "parameters" chunks expect. Throws invalid_argument when the pixels do not match the size, a keyword is
// not 1 to 79 printable Latin-1 characters, or a text is not UTF-8 or has a NUL; device when the file cannot be
// written.
void write_png(const std::filesystem::path& path, const Image& image, const PngText& text = {});

// Reads any PNG as 8-bit RGB (transparency is dropped) with its text chunks. Throws bad_file.
PngFile read_png(const std::filesystem::path& path);

}  // namespace fx
