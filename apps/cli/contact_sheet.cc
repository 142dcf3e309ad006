#include "contact_sheet.h"

#include <algorithm>
#include <cstring>

#include "fold.h"
#include "font.h"

namespace fx::cli {
namespace {

constexpr int64_t kGap = 8;                             // around everything
constexpr size_t kLabelLines = 2, kMaxLabelLines = 16;  // above a column
constexpr int64_t kLabelLetters = 18;                   // left of a row
constexpr int64_t kLargeCell = 160;                     // from here on letters are twice as large
constexpr uint8_t kPaper = 250, kInk = 40, kEmpty = 225;

// Where to break a line: at a space; else after a colon, so that "name:0.25" keeps its number whole; else anywhere.
size_t break_of(const std::string& text, size_t width) {
  if (text.size() <= width) return text.size();
  const size_t space = text.rfind(' ', width);
  if (space != std::string::npos && space > 0) return space;
  const size_t colon = text.rfind(':', width - 1);
  return colon != std::string::npos && colon > 0 ? colon + 1 : width;
}

size_t letters_in(int64_t pixels, int64_t scale) {
  return static_cast<size_t>(std::max<int64_t>(1, pixels / (kGlyphAdvance * scale)));
}

// Lines above the columns, so that the longest label is whole: what is cut off is often a scale.
int64_t label_lines(const std::vector<std::string>& columns, int cell_width, int64_t scale) {
  size_t lines = kLabelLines;
  for (const std::string& label : columns) {
    lines = std::max(lines, wrapped(label, letters_in(cell_width, scale), kMaxLabelLines).size());
  }
  return static_cast<int64_t>(lines);
}

}  // namespace

std::vector<std::string> wrapped(const std::string& text, size_t width, size_t max_lines) {
  std::vector<std::string> lines;
  std::string rest = folded(text);
  while (!rest.empty() && lines.size() < max_lines) {
    rest.erase(0, std::min(rest.find_first_not_of(' '), rest.size()));
    if (rest.empty()) break;
    const size_t end = break_of(rest, width);
    lines.push_back(rest.substr(0, end));
    rest.erase(0, end);
  }
  if (rest.find_first_not_of(' ') != std::string::npos && !lines.empty()) {
    std::string& last = lines.back();
    last.resize(std::min(last.size(), width > 3 ? width - 3 : 0));
    last += std::string(std::min<size_t>(width, 3), '.');
  }
  return lines;
}

ContactSheet::Layout::Layout(int cell_width, int cell_height, size_t rows, const std::vector<std::string>& columns)
    : cell_width(cell_width), cell_height(cell_height), scale(std::min(cell_width, cell_height) >= kLargeCell ? 2 : 1) {
  left = kGap + kLabelLetters * kGlyphAdvance * scale + kGap;
  top = kGap + label_lines(columns, cell_width, scale) * kLineAdvance * scale + kGap;
  width = x(columns.size());
  height = y(rows);
}

int64_t ContactSheet::Layout::x(size_t column) const {
  return left + static_cast<int64_t>(column) * (cell_width + kGap);
}
int64_t ContactSheet::Layout::y(size_t row) const { return top + static_cast<int64_t>(row) * (cell_height + kGap); }

int64_t ContactSheet::pixels(int cell_width, int cell_height, size_t rows, const std::vector<std::string>& columns) {
  const Layout layout(cell_width, cell_height, rows, columns);
  return layout.width * layout.height;
}

ContactSheet::ContactSheet(int cell_width, int cell_height, const std::vector<std::string>& rows,
                           const std::vector<std::string>& columns)
    : layout_(cell_width, cell_height, rows.size(), columns),
      image_{static_cast<int>(layout_.width), static_cast<int>(layout_.height),
             std::vector<uint8_t>(static_cast<size_t>(3 * layout_.width * layout_.height), kPaper)} {
  const int64_t label_height = layout_.top - 2 * kGap, label_width = layout_.left - 2 * kGap;
  for (size_t column = 0; column < columns.size(); ++column) {
    draw_label(columns[column], layout_.x(column), kGap, cell_width, label_height);
  }
  for (size_t row = 0; row < rows.size(); ++row) {
    draw_label(rows[row], kGap, layout_.y(row), label_width, cell_height);
    for (size_t column = 0; column < columns.size(); ++column) {
      fill(layout_.x(column), layout_.y(row), cell_width, cell_height, kEmpty);
    }
  }
}

void ContactSheet::place(size_t row, size_t column, const Image& picture) {
  const auto line = static_cast<size_t>(3 * layout_.cell_width);
  for (int64_t y = 0; y < layout_.cell_height; ++y) {
    uint8_t* target = image_.rgb.data() + 3 * ((layout_.y(row) + y) * layout_.width + layout_.x(column));
    std::memcpy(target, picture.rgb.data() + static_cast<size_t>(y) * line, line);
  }
}

void ContactSheet::draw_letter(char letter, int64_t left, int64_t top) {
  for (int y = 0; y < kGlyphHeight; ++y) {
    for (int x = 0; x < kGlyphWidth; ++x) {
      if (glyph_pixel(letter, x, y)) {
        fill(left + x * layout_.scale, top + y * layout_.scale, layout_.scale, layout_.scale, kInk);
      }
    }
  }
}

void ContactSheet::draw_label(const std::string& text, int64_t left, int64_t top, int64_t width, int64_t height) {
  const int64_t advance = kGlyphAdvance * layout_.scale, line_height = kLineAdvance * layout_.scale;
  const auto lines =
      wrapped(text, letters_in(width, layout_.scale), static_cast<size_t>(std::max<int64_t>(1, height / line_height)));
  int64_t y = top + std::max<int64_t>(0, (height - static_cast<int64_t>(lines.size()) * line_height) / 2);
  for (const std::string& line : lines) {
    int64_t x = left + std::max<int64_t>(0, (width - static_cast<int64_t>(line.size()) * advance) / 2);
    for (const char letter : line) {
      draw_letter(letter, x, y);
      x += advance;
    }
    y += line_height;
  }
}

void ContactSheet::fill(int64_t left, int64_t top, int64_t width, int64_t height, uint8_t grey) {
  const int64_t right = std::min(left + width, layout_.width), bottom = std::min(top + height, layout_.height);
  for (int64_t y = top; y < bottom; ++y) {
    std::memset(image_.rgb.data() + 3 * (y * layout_.width + left), grey,
                static_cast<size_t>(3 * std::max<int64_t>(0, right - left)));
  }
}

}  // namespace fx::cli
