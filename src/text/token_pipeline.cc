#include "text/token_pipeline.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace fx {
namespace {

std::string trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin));
}

class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(TokenPipeline steps) : steps_(std::move(steps)) {}

  TokenIds encode(std::string_view utf8, int max_length) const override {
    const auto room =
        static_cast<int64_t>(max_length) - static_cast<int64_t>(steps_.prefix.size() + steps_.suffix.size());
    check(room >= 0 && max_length > 0, ErrorCode::invalid_argument, "expected a length of at least {} tokens, found {}",
          std::max<size_t>(1, steps_.prefix.size() + steps_.suffix.size()), max_length);
    check(utf8.size() < std::numeric_limits<uint32_t>::max(), ErrorCode::invalid_argument,
          "expected a prompt of less than 4 GiB, found {} bytes", utf8.size());
    const std::vector<Token> tokens = tokenize(utf8);
    const size_t kept = std::min<size_t>(tokens.size(), room);
    TokenIds result;
    result.ids = steps_.prefix;
    for (size_t i = 0; i < kept; ++i) result.ids.push_back(tokens[i].id);
    result.ids.insert(result.ids.end(), steps_.suffix.begin(), steps_.suffix.end());
    result.used = static_cast<int64_t>(result.ids.size());
    result.ids.resize(max_length, steps_.pad_id);
    if (kept < tokens.size()) result.cut_off = trimmed(utf8.substr(tokens[kept].origin));
    return result;
  }

  int32_t pad_id() const override { return steps_.pad_id; }
  int32_t eos_id() const override { return steps_.eos_id; }
  int32_t largest_id() const override {
    int32_t largest = std::max({steps_.model->largest_id(), steps_.added->largest_id(), steps_.pad_id});
    for (const auto* ids : {&steps_.prefix, &steps_.suffix}) {
      for (const int32_t id : *ids) largest = std::max(largest, id);
    }
    return largest;
  }
  int64_t model_max_length() const override { return steps_.model_max_length; }

 private:
  std::vector<Token> tokenize(std::string_view utf8) const {
    AlignedText prompt;
    prompt.chars = decode_utf8(utf8, &prompt.origin);
    std::vector<Token> tokens;
    for (AddedTokens::Part& raw : steps_.added->split(prompt, false)) {
      if (raw.id) {
        tokens.push_back({*raw.id, raw.text.origin.front()});
        continue;
      }
      steps_.normalizer(raw.text);
      for (const AddedTokens::Part& part : steps_.added->split(raw.text, true)) {
        if (part.id) tokens.push_back({*part.id, part.text.origin.front()});
        else
          for (const AlignedText& word : steps_.pre_tokenizer(part.text)) steps_.model->tokenize(word, tokens);
      }
    }
    return tokens;
  }

  TokenPipeline steps_;
};

}  // namespace

std::unique_ptr<Tokenizer> TokenPipeline::tokenizer() && {
  return std::make_unique<PipelineTokenizer>(std::move(*this));
}

}  // namespace fx
