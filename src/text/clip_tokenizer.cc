// The tokenizer of CLIP, from either form in which it is published.
#include "core/error.h"
#include "text/byte_pair.h"
#include "text/json_file.h"
#include "text/special_tokens.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"

namespace fx {
namespace {

// vocab.json and merges.txt say nothing of the steps around the model: they are those of transformers' CLIPTokenizer.
TokenPipeline read_vocab_and_merges(const std::filesystem::path& dir, const SpecialTokens& special) {
  const std::string vocab_file = (dir / "vocab.json").string(), merges_file = (dir / "merges.txt").string();
  BytePairConfig model;
  model.vocab = parse_vocab(read_tokenizer_json(vocab_file), vocab_file);
  model.merges = parse_merges(read_text_file(merges_file), merges_file);
  check(!model.merges.empty(), ErrorCode::bad_file, "{}: expected merges, two tokens a line, found none", merges_file);
  model.unknown = special.content("unk_token");
  model.end_of_word = "</w>";
  TokenPipeline pipeline;
  pipeline.normalizer = clip_normalizer();
  pipeline.pre_tokenizer = clip_pre_tokenizer();
  pipeline.model = make_byte_pair_model(std::move(model), vocab_file);
  pipeline.added = std::make_unique<AddedTokens>(special.added_tokens(), *pipeline.model, pipeline.normalizer);
  return pipeline;
}

}  // namespace

std::unique_ptr<Tokenizer> load_clip_tokenizer(const std::filesystem::path& dir) {
  const SpecialTokens special(dir, {{"bos_token", "<|startoftext|>"},
                                    {"eos_token", "<|endoftext|>"},
                                    {"unk_token", "<|endoftext|>"},
                                    {"pad_token", "<|endoftext|>"}});
  const auto file = dir / "tokenizer.json";
  bool has_special = false;
  TokenPipeline pipeline =
      is_present(file) ? parse_tokenizer_json(file, has_special) : read_vocab_and_merges(dir, special);
  special.apply(pipeline);
  if (!has_special) {
    pipeline.prefix = {special.id(pipeline, "bos_token")};
    pipeline.suffix = {pipeline.eos_id};
  }
  special.check_length(pipeline);
  return std::move(pipeline).tokenizer();
}

}  // namespace fx
