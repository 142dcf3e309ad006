// Unicode as the fast tokenizers see it. Character data come from utf8proc (Unicode 15); the few code points that the
// tokenizers library knows from later versions are listed in unicode.cc, so that ids agree for those as well.
#pragma once

#include <cstddef>
#include <string_view>

namespace fx {

bool is_letter(char32_t c);      // \p{L}
bool is_number(char32_t c);      // \p{N}
bool is_whitespace(char32_t c);  // \s and the White_Space property: the same set
bool is_word(char32_t c);        // \w of Unicode's regular expressions

// Full lower-casing of one character, without context: two characters for U+0130 only, no final sigma.
std::u32string_view lower_case(char32_t c, char32_t (&buffer)[2]);

// End of the extended grapheme cluster that starts at `begin`.
size_t grapheme_end(std::u32string_view text, size_t begin);

}  // namespace fx
