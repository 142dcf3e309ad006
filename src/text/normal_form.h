// Unicode normal forms as the `unicode-normalization-alignments` crate of the tokenizers library computes them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fx {

enum class NormalForm { nfc, nfd, nfkc, nfkd };

// Normalises `text` in place. `origin[i]`, the source offset of text[i], follows the characters.
// Source: Unicode Standard Annex 15; decompositions and compositions come from utf8proc.
void normalize(std::u32string& text, std::vector<uint32_t>& origin, NormalForm form);

}  // namespace fx
