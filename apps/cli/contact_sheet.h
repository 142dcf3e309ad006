// Pictures of one size in rows and columns, with a label at the left of each row and above each column.
#pragma once

#include <string>
#include <vector>

#include "io/png.h"

namespace fx::cli {

class ContactSheet {
 public:
  // All cells are empty. Sizes are of one cell, in pixels. Labels are UTF-8; what the font does not have is a box.
  ContactSheet(int cell_width, int cell_height, const std::vector<std::string>& rows,
               const std::vector<std::string>& columns);

  // `picture` has the size of a cell.
  void place(size_t row, size_t column, const Image& picture);
  const Image& image() const { return image_; }

  // Pixels of a sheet without making it; to refuse one that is too large.
  static int64_t pixels(int cell_width, int cell_height, size_t rows, size_t columns);

 private:
  struct Layout {
    Layout(int cell_width, int cell_height, size_t rows, size_t columns);
    int64_t cell_width, cell_height;
    int64_t scale;      // of the font
    int64_t left, top;  // room for labels
    int64_t width, height;
    int64_t x(size_t column) const;
    int64_t y(size_t row) const;
  };
  void draw_letter(char letter, int64_t left, int64_t top);
  // Lines of text, centred in a box.
  void draw_label(const std::string& text, int64_t left, int64_t top, int64_t width, int64_t height);
  void fill(int64_t left, int64_t top, int64_t width, int64_t height, uint8_t grey);

  Layout layout_;
  Image image_;
};

// `text` as at most `max_lines` lines of at most `width` letters, broken at spaces where possible; "..." at the end if that
// is not enough. One letter for each code point; those beyond ASCII become 0x7f.
std::vector<std::string> wrapped(const std::string& text, size_t width, size_t max_lines);

}  // namespace fx::cli
