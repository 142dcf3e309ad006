// Text in the letters that the label font has.
#pragma once

#include <string>

namespace fx::cli {

// ASCII for a label: accents dropped, the other Latin letters, ligatures and typographic marks spelt out, control
// characters as spaces. One 0x7f, the font's box, for each code point that is none of these. Takes any bytes.
std::string folded(const std::string& text);

}  // namespace fx::cli
