// The precompiled character map of sentencepiece models (nmt_nfkc and others): a double-array trie over UTF-8 bytes
// whose values are offsets of NUL-terminated replacements. Layout: u32 bytes of the trie, u32 units, replacements.
// Source: sentencepiece's normalizer and the darts-clone library whose format it stores.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/aligned_text.h"

namespace fx {

class Charsmap {
 public:
  // `bytes` is the decoded map; `file` appears in messages. Throws Error(bad_file) if the sizes do not fit.
  Charsmap(std::string_view bytes, std::string file);

  // Rewrites `text` as the tokenizers library does: a grapheme cluster of less than 6 bytes is looked up whole, and if
  // any prefix of it is in the map, it is replaced by the value of the shortest; all others go character by character.
  void apply(AlignedText& text) const;

 private:
  std::optional<std::u32string> find(std::string_view key) const;
  uint32_t unit(size_t index) const;

  std::string file_;
  std::vector<uint32_t> units_;
  std::string replacements_;
};

// RFC 4648 with padding. Throws Error(bad_file).
std::string decode_base64(std::string_view text, const std::string& file);

}  // namespace fx
