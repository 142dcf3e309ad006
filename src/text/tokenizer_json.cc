#include "text/tokenizer_json.h"

#include "core/error.h"
#include "text/byte_pair.h"
#include "text/json_file.h"
#include "text/unigram.h"

namespace fx {
namespace {

using nlohmann::json;

std::unique_ptr<TokenModel> parse_model(const json& model, const std::string& file) {
  // Old files do not name the type.
  const bool unigram_shape = model.contains("vocab") && model["vocab"].is_array();
  const std::string type = model.contains("type") ? string_field(model, "type", file)
                           : unigram_shape        ? "Unigram"
                                                  : "BPE";
  if (type == "Unigram") return make_unigram_model(parse_unigram(model, file), file);
  if (type == "BPE") return make_byte_pair_model(parse_byte_pair(model, file), file);
  fail(ErrorCode::unsupported, "{}: the model \"{}\"", file, type);
}

int32_t parse_id(const json& id, const std::string& file) {
  check(id.is_number_unsigned() && id.get<uint64_t>() < 1u << 30, ErrorCode::bad_file,
        "{}: expected a token id in \"post_processor\", found {}", file, id.dump());
  return id.get<int32_t>();
}

void parse_template(const json& config, TokenPipeline& pipeline, const std::string& file) {
  const json& known = object_field(config, "special_tokens", file);
  bool text_seen = false;
  for (const json& piece : array_field(config, "single", file)) {
    if (piece.is_object() && piece.contains("Sequence")) {
      check(!text_seen, ErrorCode::unsupported, "{}: a post_processor that repeats the text", file);
      text_seen = true;
      continue;
    }
    const std::string token = string_field(object_field(piece, "SpecialToken", file), "id", file);
    for (const json& id : array_field(object_field(known, token.c_str(), file), "ids", file))
      (text_seen ? pipeline.suffix : pipeline.prefix).push_back(parse_id(id, file));
  }
  check(text_seen, ErrorCode::bad_file, "{}: expected \"single\" of the post_processor to hold the text, found none",
        file);
}

// {"sep": ["</s>", 1], "cls": ["<s>", 0]} of BertProcessing and RobertaProcessing.
int32_t parse_pair(const json& config, const char* key, const std::string& file) {
  const json& pair = array_field(config, key, file);
  return parse_id(pair.size() == 2 ? pair[1] : json(), file);
}

bool parse_post_processor(const json& config, TokenPipeline& pipeline, const std::string& file) {
  if (config.is_null()) return false;
  const std::string type = string_field(config, "type", file);
  if (type == "TemplateProcessing") {
    parse_template(config, pipeline, file);
  } else if (type == "RobertaProcessing" || type == "BertProcessing") {
    pipeline.prefix.push_back(parse_pair(config, "cls", file));
    pipeline.suffix.push_back(parse_pair(config, "sep", file));
  } else if (type == "Sequence") {
    bool any = false;
    for (const json& step : array_field(config, "processors", file))
      any = parse_post_processor(step, pipeline, file) || any;
    return any;
  } else {
    check(type == "ByteLevel", ErrorCode::unsupported, "{}: the post-processor \"{}\"", file, type);
    return false;  // it moves offsets only
  }
  return true;
}

}  // namespace

TokenPipeline parse_tokenizer_json(const std::filesystem::path& path, bool& has_special) {
  const std::string file = path.string();
  const json config = read_tokenizer_json(path);
  TokenPipeline pipeline;
  pipeline.normalizer = parse_normalizer(config.value("normalizer", json()), file);
  pipeline.pre_tokenizer = parse_pre_tokenizer(config.value("pre_tokenizer", json()), file);
  pipeline.model = parse_model(object_field(config, "model", file), file);
  std::vector<AddedToken> added;
  if (config.contains("added_tokens"))
    for (const json& token : array_field(config, "added_tokens", file)) added.push_back(parse_added_token(token, file));
  pipeline.added = std::make_unique<AddedTokens>(added, *pipeline.model, pipeline.normalizer);
  has_special = parse_post_processor(config.value("post_processor", json()), pipeline, file);
  return pipeline;
}

}  // namespace fx
