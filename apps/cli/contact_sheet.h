// Pictures of one size in rows and columns, with a label at the left of each row and above each column.
#pragma once

#include <string>
#include <vector>

#include "io/png.h"

namespace fx::cli {

class ContactSheet {
 public:
  // All cells are empty. Sizes are of one cell, in pixels. Labels are UTF-8; what the font does not have is a box. There is
  // room for the whole labels of columns, up to some lines.
  ContactSheet(int cell_width, int cell_height, const std::vector<std::string>& rows,
               const std::vector<std::string>& columns);

  // `picture` has the size of a cell.
  void place(size_t row, size_t column, const Image& picture);
  const Image& image() const { return image_; }

  // Pixels of a sheet without making it; to refuse one that is too large. `columns` are labels.
  static int64_t pixels(int cell_width, int cell_height, size_t rows, const std::vector<std::string>& columns);

 private:
  struct Layout {
    Layout(int cell_width, int cell_height, size_t rows, const std::vector<std::string>& columns);
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

// `text`, folded, as at most `max_lines` lines of at most `width` letters, broken at spaces or after colons where possible;
// "..." at the end if that is not enough.
std::vector<std::string> wrapped(const std::string& text, size_t width, size_t max_lines);

}  // namespace fx::cli
