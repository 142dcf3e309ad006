#include "text/normal_form.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

namespace fx {
namespace {

struct Range {
  char32_t first, last;
};

// The crate's tables are those of Unicode 9. These marks came later: it leaves them alone, in order and uncomposed.
constexpr std::array<Range, 38> kUnknownMarks{
    {{0x07FD, 0x07FD},   {0x0898, 0x089F},   {0x08CA, 0x08D3},   {0x09FE, 0x09FE},   {0x0C3C, 0x0C3C},
     {0x0D3B, 0x0D3C},   {0x0EBA, 0x0EBA},   {0x1715, 0x1715},   {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},
     {0xA82C, 0xA82C},   {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50},
     {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
     {0x11930, 0x11930}, {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0},
     {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45},
     {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136},
     {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}}};

bool is_unknown(char32_t c) {
  return std::any_of(kUnknownMarks.begin(), kUnknownMarks.end(), [c](Range r) { return r.first <= c && c <= r.last; });
}

using Parts = std::array<utf8proc_int32_t, 32>;  // the longest decomposition has 18 characters

size_t decompose(char32_t c, bool compat, Parts& out) {
  if (is_unknown(c)) {
    out[0] = static_cast<utf8proc_int32_t>(c);
    return 1;
  }
  int boundary = UTF8PROC_BOUNDCLASS_START;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0));
  return static_cast<size_t>(
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), out.data(), out.size(), options, &boundary));
}

struct Mark {
  utf8proc_int32_t c;
  uint32_t origin;
  int combining_class;
};

// Canonical decomposition in canonical order.
std::vector<Mark> decomposed(const std::u32string& text, const std::vector<uint32_t>& origin, bool compat) {
  std::vector<Mark> marks;
  Parts parts{};
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t n = decompose(text[i], compat, parts);
    for (size_t k = 0; k < n; ++k) {
      const bool unknown = is_unknown(static_cast<char32_t>(parts[k]));
      marks.push_back({parts[k], origin[i], unknown ? 0 : utf8proc_get_property(parts[k])->combining_class});
    }
  }
  for (size_t begin = 0; begin < marks.size(); ++begin) {
    size_t end = begin;
    while (end < marks.size() && marks[end].combining_class != 0) ++end;
    std::stable_sort(marks.begin() + begin, marks.begin() + end,
                     [](const Mark& a, const Mark& b) { return a.combining_class < b.combining_class; });
    begin = end;
  }
  return marks;
}

// Composes everything between two unknown marks, which nothing composes with or across.
std::u32string composed(const std::vector<Mark>& marks) {
  std::u32string text;
  std::vector<utf8proc_int32_t> run;
  for (size_t begin = 0; begin < marks.size();) {
    run.clear();
    size_t end = begin;
    while (end < marks.size() && !is_unknown(static_cast<char32_t>(marks[end].c))) run.push_back(marks[end++].c);
    const auto length = static_cast<utf8proc_ssize_t>(run.size());
    run.push_back(0);  // utf8proc wants room for one more
    const auto size = utf8proc_normalize_utf32(run.data(), length,
                                               static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
    text.append(run.begin(), run.begin() + size);
    if (end < marks.size()) text.push_back(static_cast<char32_t>(marks[end].c));
    begin = end + 1;
  }
  return text;
}

}  // namespace

void normalize(std::u32string& text, std::vector<uint32_t>& origin, NormalForm form) {
  if (std::all_of(text.begin(), text.end(), [](char32_t c) { return c < 0x80; })) return;
  const bool compat = form == NormalForm::nfkc || form == NormalForm::nfkd;
  const std::vector<Mark> marks = decomposed(text, origin, compat);
  origin.clear();
  if (form == NormalForm::nfd || form == NormalForm::nfkd) {
    text.clear();
    for (const Mark& mark : marks) {
      text.push_back(static_cast<char32_t>(mark.c));
      origin.push_back(mark.origin);
    }
    return;
  }
  text = composed(marks);
  Parts parts{};
  size_t source = 0;  // every character of the result stands for as many marks as it decomposes into
  for (const char32_t c : text) {
    origin.push_back(marks[std::min(source, marks.size() - 1)].origin);
    source += decompose(c, false, parts);
  }
}

}  // namespace fx
