// The tokenizer of T5, from either form in which it is published.
#include <fmt/format.h>

#include "core/error.h"
#include "text/json_file.h"
#include "text/sentencepiece_file.h"
#include "text/special_tokens.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"

namespace fx {
namespace {

constexpr int64_t kExtraIds = 100;  // <extra_id_99> ... <extra_id_0> follow the tokens of the file
constexpr int64_t kMostExtraIds = 10000;

// The steps around the model of a spiece.model are those of transformers' T5Tokenizer.
TokenPipeline read_sentencepiece(const std::filesystem::path& path, const SpecialTokens& special) {
  SentencePieceFile source = read_sentencepiece_file(path);
  std::vector<AddedToken> added = special.added_tokens();
  for (const std::string& token : source.reserved) added.push_back({.content = token});
  const int64_t extra_ids = special.number("extra_ids", kExtraIds);
  check(extra_ids <= kMostExtraIds, ErrorCode::unsupported, "{}: {} extra_ids; at most {} are supported", path.string(),
        extra_ids, kMostExtraIds);
  for (int64_t i = extra_ids - 1; i >= 0; --i) {
    source.model.vocab.push_back({fmt::format("<extra_id_{}>", i), 0.0});
    added.push_back({.content = source.model.vocab.back().token});
  }
  TokenPipeline pipeline;
  pipeline.normalizer =
      source.charsmap.empty() ? [](AlignedText&) {} : charsmap_normalizer(Charsmap(source.charsmap, path.string()));
  pipeline.pre_tokenizer = t5_pre_tokenizer();
  pipeline.model = make_unigram_model(std::move(source.model), path.string());
  pipeline.added = std::make_unique<AddedTokens>(added, *pipeline.model, pipeline.normalizer);
  return pipeline;
}

}  // namespace

std::unique_ptr<Tokenizer> load_t5_tokenizer(const std::filesystem::path& dir) {
  const SpecialTokens special(dir, {{"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"pad_token", "<pad>"}});
  const auto json_file = dir / "tokenizer.json", model_file = dir / "spiece.model";
  check(is_present(json_file) || is_present(model_file), ErrorCode::bad_file,
        "{}: expected tokenizer.json or spiece.model, found neither", dir.string());
  bool has_special = false;
  TokenPipeline pipeline =
      is_present(json_file) ? parse_tokenizer_json(json_file, has_special) : read_sentencepiece(model_file, special);
  special.apply(pipeline);
  if (!has_special) pipeline.suffix = {pipeline.eos_id};
  return std::move(pipeline).tokenizer();
}

}  // namespace fx
