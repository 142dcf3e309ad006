// Text on its way through the tokenizer, which remembers where every character came from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fx {

struct AlignedText {
  std::u32string chars;
  std::vector<uint32_t> origin;  // (chars): byte offset in the prompt of the character that each one stands for

  bool empty() const { return chars.empty(); }
  size_t size() const { return chars.size(); }
  void push_back(char32_t c, uint32_t from) {
    chars.push_back(c);
    origin.push_back(from);
  }
  AlignedText slice(size_t begin, size_t end) const {
    return {chars.substr(begin, end - begin), {origin.begin() + begin, origin.begin() + end}};
  }
};

// One character of a rewritten text: `change` is 0 if it replaces one character of the old text, -n if it also swallows
// the n after it, and 1 if it is additional.
struct Rewrite {
  char32_t c;
  int change;
};

// Replaces the text, `skipped` characters of the old one being dropped at its start. The bookkeeping is that of
// NormalizedString::transform in the tokenizers library, because Metaspace asks where a text began in the prompt.
inline void rewrite(AlignedText& text, const std::vector<Rewrite>& rewrites, size_t skipped = 0) {
  AlignedText result;
  size_t next = skipped;
  for (const Rewrite& r : rewrites) {
    const size_t from = r.change > 0 ? (next > 0 ? next - 1 : 0) : next;
    result.push_back(r.c, text.origin[from < text.size() ? from : text.size() - 1]);
    if (r.change <= 0) next += 1 + static_cast<size_t>(-r.change);
  }
  text = std::move(result);
}

}  // namespace fx
