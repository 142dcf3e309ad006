// libpng reports errors by longjmp, which must not cross a C++ object with a destructor. So everything that owns memory
// lives in write_png; encode() holds plain values only, and exceptions of the callbacks are carried around libpng.
#include <png.h>

#include <csetjmp>
#include <exception>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/png.h"
#include "io/png_text.h"

namespace fx {
namespace {

struct Encoder {
  png_structp png = nullptr;
  png_infop info = nullptr;
  AtomicFile* file = nullptr;
  std::exception_ptr failure;  // of our own callback
  std::string message;         // of libpng
  ~Encoder() { png_destroy_write_struct(&png, &info); }
};

void on_write(png_structp png, png_bytep data, size_t bytes) {
  auto* encoder = static_cast<Encoder*>(png_get_io_ptr(png));
  try {
    encoder->file->write(std::as_bytes(std::span(data, bytes)));
    return;
  } catch (...) { encoder->failure = std::current_exception(); }
  png_error(png, "writing failed");
}

void on_flush(png_structp) {}

void on_error(png_structp png, png_const_charp message) {
  static_cast<Encoder*>(png_get_error_ptr(png))->message = message;
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

// false after an error of libpng.
bool encode(Encoder& encoder, const Image& image, const std::vector<png_text>& chunks) {
  if (setjmp(png_jmpbuf(encoder.png))) return false;
  png_set_write_fn(encoder.png, &encoder, on_write, on_flush);
  png_set_IHDR(encoder.png, encoder.info, static_cast<png_uint_32>(image.width), static_cast<png_uint_32>(image.height),
               8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!chunks.empty()) png_set_text(encoder.png, encoder.info, chunks.data(), static_cast<int>(chunks.size()));
  png_write_info(encoder.png, encoder.info);
  for (int y = 0; y < image.height; ++y) {
    png_write_row(encoder.png, image.rgb.data() + static_cast<size_t>(y) * static_cast<size_t>(image.width) * 3);
  }
  png_write_end(encoder.png, encoder.info);
  return true;
}

// The encoded form of one text; png_text points into it.
struct TextChunk {
  std::string keyword;
  std::string text;
  bool latin1 = true;
};

TextChunk encode_text(const std::string& keyword, const std::string& text) {
  TextChunk chunk;
  const auto latin1_keyword = utf8_to_latin1(keyword, "PNG text keyword");
  bool printable = latin1_keyword && !latin1_keyword->empty() && latin1_keyword->size() <= 79;
  for (const char letter : latin1_keyword.value_or("")) {
    const auto code = static_cast<uint8_t>(letter);
    printable = printable && code >= 32 && (code < 127 || code > 160);
  }
  check(printable, ErrorCode::invalid_argument, "PNG text keyword '{}': expected 1 to 79 printable Latin-1 characters",
        keyword);
  check(text.find('\0') == std::string::npos, ErrorCode::invalid_argument, "PNG text '{}' must not have a NUL",
        keyword);
  chunk.keyword = *latin1_keyword;
  const auto latin1_text = utf8_to_latin1(text, "PNG text '" + keyword + "'");
  chunk.latin1 = latin1_text.has_value();
  chunk.text = latin1_text.value_or(text);
  return chunk;
}

std::vector<png_text> png_view(std::vector<TextChunk>& chunks) {
  std::vector<png_text> view;
  for (TextChunk& chunk : chunks) {
    png_text entry{};
    entry.compression = chunk.latin1 ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
    entry.key = chunk.keyword.data();
    entry.text = chunk.text.data();
    entry.text_length = chunk.latin1 ? chunk.text.size() : 0;
    entry.itxt_length = chunk.latin1 ? 0 : chunk.text.size();
    view.push_back(entry);
  }
  return view;
}

}  // namespace

void write_png(const std::filesystem::path& path, const Image& image, const PngText& text) {
  const bool matches = image.width > 0 && image.height > 0 &&
                       image.rgb.size() == static_cast<size_t>(image.width) * static_cast<size_t>(image.height) * 3;
  check(matches, ErrorCode::invalid_argument, "{}: a picture of {} x {} cannot have {} bytes of RGB", path.string(),
        image.width, image.height, image.rgb.size());
  std::vector<TextChunk> chunks;
  for (const auto& [keyword, value] : text) chunks.push_back(encode_text(keyword, value));
  const std::vector<png_text> view = png_view(chunks);

  AtomicFile file(path);
  Encoder encoder;
  encoder.file = &file;
  encoder.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &encoder, on_error, on_warning);
  encoder.info = encoder.png ? png_create_info_struct(encoder.png) : nullptr;
  check(encoder.info != nullptr, ErrorCode::out_of_memory, "{}: not enough memory to write a PNG file", path.string());
  if (!encode(encoder, image, view)) {
    if (encoder.failure) std::rethrow_exception(encoder.failure);
    fail(ErrorCode::invalid_argument, "{}: cannot encode the picture: {}", path.string(), encoder.message);
  }
  file.commit();
}

}  // namespace fx
