// spiece.model: the protocol-buffer file of the sentencepiece library (ModelProto of sentencepiece_model.proto).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "text/unigram.h"

namespace fx {

struct SentencePieceFile {
  UnigramConfig model;
  std::string charsmap;               // precompiled character map; empty: text stays as it is
  std::vector<std::string> reserved;  // control and user-defined tokens
};

// Reads what a T5 tokenizer needs. Throws Error(bad_file) for a damaged file, and Error(unsupported) for models other
// than unigram and for text preparation other than T5's.
SentencePieceFile read_sentencepiece_file(const std::filesystem::path& path);

}  // namespace fx
