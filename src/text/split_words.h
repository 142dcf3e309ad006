// The two regular expressions by which byte-pair tokenizers cut text into words, written out as scanners.
#pragma once

#include <vector>

#include "text/aligned_text.h"

namespace fx {

// CLIP: [<|startoftext|>|<|endoftext|>|]'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+ ; the matches, what is
// between them dropped. `special_tokens` says whether the part in brackets is there.
std::vector<AlignedText> split_clip_words(const AlignedText& text, bool special_tokens);

// GPT-2: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ ; it matches every character.
std::vector<AlignedText> split_gpt2_words(const AlignedText& text);

}  // namespace fx
