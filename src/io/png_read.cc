// See png_write.cc for how libpng's longjmp is kept away from C++ objects.
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>

#include "core/error.h"
#include "io/mmap_file.h"
#include "io/png.h"
#include "io/png_text.h"

namespace fx {
namespace {

constexpr png_uint_32 kMaxSide = 32768;  // against files that are small and unpack to everything

struct Decoder {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::span<const std::byte> rest;
  std::string message;
  ~Decoder() { png_destroy_read_struct(&png, &info, nullptr); }
};

void on_read(png_structp png, png_bytep target, size_t bytes) {
  auto* decoder = static_cast<Decoder*>(png_get_io_ptr(png));
  if (bytes > decoder->rest.size()) png_error(png, "the file is cut off");
  std::memcpy(target, decoder->rest.data(), bytes);
  decoder->rest = decoder->rest.subspan(bytes);
}

void on_error(png_structp png, png_const_charp message) {
  static_cast<Decoder*>(png_get_error_ptr(png))->message = message;
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

bool decode_header(Decoder& decoder, Image& image) {
  if (setjmp(png_jmpbuf(decoder.png))) return false;
  png_set_read_fn(decoder.png, &decoder, on_read);
  png_set_user_limits(decoder.png, kMaxSide, kMaxSide);
  png_read_info(decoder.png, decoder.info);
  png_set_expand(decoder.png);
  png_set_scale_16(decoder.png);
  png_set_strip_alpha(decoder.png);
  png_set_gray_to_rgb(decoder.png);
  png_set_interlace_handling(decoder.png);
  png_read_update_info(decoder.png, decoder.info);
  image.width = static_cast<int>(png_get_image_width(decoder.png, decoder.info));
  image.height = static_cast<int>(png_get_image_height(decoder.png, decoder.info));
  return true;
}

bool decode_rows(Decoder& decoder, std::vector<png_bytep>& rows) {
  if (setjmp(png_jmpbuf(decoder.png))) return false;
  png_read_image(decoder.png, rows.data());
  png_read_end(decoder.png, decoder.info);
  return true;
}

PngText collect_text(const Decoder& decoder) {
  PngText text;
  png_textp chunks = nullptr;
  int count = 0;
  png_get_text(decoder.png, decoder.info, &chunks, &count);
  for (int i = 0; i < count; ++i) {
    const bool is_utf8 = chunks[i].compression >= PNG_ITXT_COMPRESSION_NONE;
    const std::string value = chunks[i].text ? chunks[i].text : "";
    text.emplace(latin1_to_utf8(chunks[i].key), is_utf8 ? value : latin1_to_utf8(value));
  }
  return text;
}

}  // namespace

PngFile read_png(const std::filesystem::path& path) {
  const MmapFile file(path);
  Decoder decoder;
  decoder.rest = file.bytes();
  decoder.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &decoder, on_error, on_warning);
  decoder.info = decoder.png ? png_create_info_struct(decoder.png) : nullptr;
  check(decoder.info != nullptr, ErrorCode::out_of_memory, "{}: not enough memory to read a PNG file", path.string());

  PngFile result;
  Image& image = result.image;
  check(decode_header(decoder, image), ErrorCode::bad_file, "{}: cannot read the PNG file: {}", path.string(),
        decoder.message);
  const size_t row_bytes = static_cast<size_t>(image.width) * 3;
  image.rgb.resize(row_bytes * static_cast<size_t>(image.height));
  std::vector<png_bytep> rows(static_cast<size_t>(image.height));
  for (size_t y = 0; y < rows.size(); ++y) rows[y] = image.rgb.data() + y * row_bytes;
  check(decode_rows(decoder, rows), ErrorCode::bad_file, "{}: cannot read the PNG file: {}", path.string(),
        decoder.message);
  result.text = collect_text(decoder);
  return result;
}

}  // namespace fx
