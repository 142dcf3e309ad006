#include "text/charsmap.h"

#include <cstring>

#include "core/error.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace fx {
namespace {

constexpr size_t kLongestWholeGrapheme = 5;  // bytes

// A unit of darts-clone: bits 0-7 label, 8 has a leaf, 9 shift of the offset by 8, 10-30 offset; 31 marks a value.
uint32_t label(uint32_t unit) { return unit & (1u << 31 | 0xFF); }
uint32_t offset(uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }
bool has_leaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t value(uint32_t unit) { return unit & 0x7FFFFFFF; }

// Appends `to` in place of `count` characters.
void append(std::vector<Rewrite>& rewrites, std::u32string_view to, size_t count) {
  for (size_t i = 0; i < to.size(); ++i) rewrites.push_back({to[i], i < count ? 0 : 1});
  if (to.size() < count && !rewrites.empty()) rewrites.back().change -= static_cast<int>(count - to.size());
}

}  // namespace

Charsmap::Charsmap(std::string_view bytes, std::string file) : file_(std::move(file)) {
  uint32_t trie_bytes = 0;
  if (bytes.size() >= sizeof trie_bytes) std::memcpy(&trie_bytes, bytes.data(), sizeof trie_bytes);
  check(bytes.size() >= sizeof trie_bytes && trie_bytes >= 4 && trie_bytes <= bytes.size() - sizeof trie_bytes,
        ErrorCode::bad_file, "{}: expected a precompiled_charsmap with a trie of {} bytes, found {} bytes in all",
        file_, trie_bytes, bytes.size());
  units_.resize(trie_bytes / 4);
  std::memcpy(units_.data(), bytes.data() + 4, units_.size() * 4);
  replacements_ = bytes.substr(4 + units_.size() * 4);
}

uint32_t Charsmap::unit(size_t index) const {
  check(index < units_.size(), ErrorCode::bad_file, "{}: precompiled_charsmap refers to unit {}, but has {}", file_,
        index, units_.size());
  return units_[index];
}

std::optional<std::u32string> Charsmap::find(std::string_view key) const {
  size_t node = offset(unit(0));
  for (const char c : key) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) break;
    node ^= byte;
    const uint32_t here = unit(node);
    if (label(here) != byte) break;
    node ^= offset(here);
    if (!has_leaf(here)) continue;
    const size_t begin = value(unit(node));
    check(begin <= replacements_.size(), ErrorCode::bad_file,
          "{}: precompiled_charsmap refers to replacement byte {}, but has {}", file_, begin, replacements_.size());
    try {
      return decode_utf8(replacements_.c_str() + begin);
    } catch (const Error& error) {
      fail(ErrorCode::bad_file, "{}: a replacement in precompiled_charsmap: {}", file_, error.what());
    }
  }
  return std::nullopt;
}

void Charsmap::apply(AlignedText& text) const {
  std::vector<Rewrite> rewrites;
  rewrites.reserve(text.size());
  std::string bytes;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = grapheme_end(text.chars, begin);
    if (end - begin <= kLongestWholeGrapheme) {
      bytes = encode_utf8(std::u32string_view(text.chars).substr(begin, end - begin));
      const auto whole = bytes.size() <= kLongestWholeGrapheme ? find(bytes) : std::nullopt;
      if (whole) {
        append(rewrites, *whole, end - begin);
        begin = end;
        continue;
      }
    }
    for (; begin < end; ++begin) {
      bytes.clear();
      append_utf8(bytes, text.chars[begin]);
      const auto one = find(bytes);
      if (one) append(rewrites, *one, 1);
      else rewrites.push_back({text.chars[begin], 0});
    }
  }
  rewrite(text, rewrites);
}

std::string decode_base64(std::string_view text, const std::string& file) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string_view digits = text;
  while (!digits.empty() && digits.back() == '=' && text.size() - digits.size() < 2) digits.remove_suffix(1);
  check(text.size() % 4 == 0, ErrorCode::bad_file, "{}: expected base64 in groups of 4, found {} characters", file,
        text.size());
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : digits) {
    const size_t digit = kAlphabet.find(c);
    check(digit != std::string_view::npos, ErrorCode::bad_file, "{}: expected base64, found the byte 0x{:02X}", file,
          static_cast<unsigned char>(c));
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(bits >> count & 0xFF));
  }
  return bytes;
}

}  // namespace fx
