#include "text/sentencepiece_file.h"

#include <bit>
#include <cstring>

#include "core/error.h"
#include "text/json_file.h"
#include "text/utf8.h"

namespace fx {
namespace {

// One field of a protocol-buffer message: a number (varint or fixed) or bytes.
struct Field {
  uint64_t number = 0;
  int wire_type = 0;
  uint64_t value = 0;
  std::string_view bytes;
};

constexpr int kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;

class MessageReader {
 public:
  MessageReader(std::string_view bytes, const std::string& file) : rest_(bytes), file_(file) {}

  bool next(Field& field) {
    if (rest_.empty()) return false;
    const uint64_t tag = varint();
    field.number = tag >> 3;
    field.wire_type = static_cast<int>(tag & 7);
    switch (field.wire_type) {
      case kVarint: field.value = varint(); break;
      case kFixed64: field.value = fixed(8); break;
      case kFixed32: field.value = fixed(4); break;
      case kBytes: field.bytes = take(varint()); break;
      default: damaged();
    }
    return true;
  }

 private:
  [[noreturn]] void damaged() const {
    fail(ErrorCode::bad_file, "{}: expected a sentencepiece model, found a damaged or truncated file", file_);
  }

  std::string_view take(uint64_t size) {
    if (size > rest_.size()) damaged();
    const std::string_view bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return bytes;
  }

  uint64_t fixed(size_t size) {
    uint64_t value = 0;
    const std::string_view bytes = take(size);
    std::memcpy(&value, bytes.data(), size);
    return value;
  }

  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    damaged();
  }

  std::string_view rest_;
  const std::string& file_;
};

enum PieceType : uint64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4 };

void read_piece(std::string_view message, SentencePieceFile& result, const std::string& file) {
  UnigramConfig::Piece piece{"", 0.0};
  uint64_t type = kNormal;
  MessageReader reader(message, file);
  for (Field field; reader.next(field);) {
    if (field.number == 1) piece.token = field.bytes;
    if (field.number == 2) piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    if (field.number == 3) type = field.value;
  }
  try {
    decode_utf8(piece.token);
  } catch (const Error& error) {
    fail(ErrorCode::bad_file, "{}: token {}: {}", file, result.model.vocab.size(), error.what());
  }
  if (type == kUnknown) result.model.unknown_id = static_cast<int32_t>(result.model.vocab.size());
  if (type == kControl || type == kUserDefined) result.reserved.push_back(piece.token);
  result.model.vocab.push_back(std::move(piece));
}

void read_trainer(std::string_view message, SentencePieceFile& result, const std::string& file) {
  constexpr uint64_t kModelType = 3, kSuffixSpace = 24, kByteFallback = 35, kUnigram = 1;
  MessageReader reader(message, file);
  for (Field field; reader.next(field);) {
    check(field.number != kModelType || field.value == kUnigram, ErrorCode::unsupported,
          "{}: a sentencepiece model of type {}; only unigram (1) is supported", file, field.value);
    check(field.number != kSuffixSpace || field.value == 0, ErrorCode::unsupported,
          "{}: a sentencepiece model with treat_whitespace_as_suffix", file);
    if (field.number == kByteFallback) result.model.byte_fallback = field.value != 0;
  }
}

void read_normalizer(std::string_view message, SentencePieceFile& result, const std::string& file) {
  constexpr uint64_t kCharsmap = 2, kDummyPrefix = 3, kExtraSpaces = 4, kEscapeSpaces = 5;
  MessageReader reader(message, file);
  for (Field field; reader.next(field);) {
    if (field.number == kCharsmap) result.charsmap = field.bytes;
    const bool required = field.number == kDummyPrefix || field.number == kExtraSpaces || field.number == kEscapeSpaces;
    check(!required || field.value == 1, ErrorCode::unsupported,
          "{}: a sentencepiece model without add_dummy_prefix, remove_extra_whitespaces or escape_whitespaces", file);
  }
}

}  // namespace

SentencePieceFile read_sentencepiece_file(const std::filesystem::path& path) {
  constexpr uint64_t kPieces = 1, kTrainer = 2, kNormalizer = 3;
  const std::string file = path.string();
  const std::string bytes = read_text_file(path);
  SentencePieceFile result;
  result.model.unknown_id = -1;
  MessageReader reader(bytes, file);
  for (Field field; reader.next(field);) {
    if (field.wire_type != kBytes) continue;
    if (field.number == kPieces) read_piece(field.bytes, result, file);
    if (field.number == kTrainer) read_trainer(field.bytes, result, file);
    if (field.number == kNormalizer) read_normalizer(field.bytes, result, file);
  }
  check(!result.model.vocab.empty(), ErrorCode::bad_file, "{}: expected a sentencepiece model, found no tokens in it",
        file);
  return result;
}

}  // namespace fx
