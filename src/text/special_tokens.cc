#include "text/special_tokens.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>

#include "core/error.h"
#include "text/json_file.h"

namespace fx {
namespace {

using nlohmann::json;

constexpr std::array<const char*, 7> kNamed{"bos_token", "eos_token", "unk_token", "sep_token",
                                            "pad_token", "cls_token", "mask_token"};

// A token written as text is special and not normalised.
AddedToken parse_token(const json& value, const std::string& file) {
  if (value.is_object()) {
    AddedToken token = parse_added_token(value, file);
    if (!value.contains("normalized")) token.normalized = true;  // the default of transformers' AddedToken
    token.special = true;
    return token;
  }
  check(value.is_string(), ErrorCode::bad_file, "{}: expected a token, found {}", file, value.dump());
  return {.content = value.get<std::string>()};
}

// added_tokens_decoder of tokenizer_config.json, in the order of its ids.
std::vector<AddedToken> parse_decoder(const json& config, const std::string& file) {
  std::map<int64_t, AddedToken> by_id;
  for (const auto& [id, token] : config.items()) {
    check(!id.empty() && id.size() < 10 && id.find_first_not_of("0123456789") == std::string::npos, ErrorCode::bad_file,
          "{}: expected an id in \"added_tokens_decoder\", found \"{}\"", file, id);
    by_id[std::stoll(id)] = parse_added_token(token, file);
  }
  std::vector<AddedToken> tokens;
  for (auto& [id, token] : by_id) tokens.push_back(std::move(token));
  return tokens;
}

}  // namespace

SpecialTokens::SpecialTokens(const std::filesystem::path& dir, const json& defaults)
    : file_((dir / "tokenizer_config.json").string()), config_(defaults) {
  config_.update(read_optional_tokenizer_json(file_));
  for (const char* side : {"padding_side", "truncation_side"}) {
    const json value = config_.value(side, json("right"));
    check(value == "right", ErrorCode::unsupported, "{}: \"{}\": {}; only right is supported", file_, side,
          value.dump());
  }
  if (config_.contains("added_tokens_decoder"))
    decoder_ = parse_decoder(object_field(config_, "added_tokens_decoder", file_), file_);
  else config_.update(read_optional_tokenizer_json(dir / "special_tokens_map.json"));
}

std::string SpecialTokens::content(const char* key) const {
  const json value = config_.value(key, json());
  return value.is_null() ? "" : parse_token(value, file_).content;
}

std::vector<AddedToken> SpecialTokens::added_tokens() const {
  std::vector<AddedToken> tokens = decoder_;
  const auto add = [&](const json& value) {
    const AddedToken token = parse_token(value, file_);
    const bool decoded = std::any_of(decoder_.begin(), decoder_.end(),
                                     [&](const AddedToken& known) { return known.content == token.content; });
    const bool repeated = value.is_object() && std::find(tokens.begin(), tokens.end(), token) != tokens.end();
    if (!decoded && !repeated) tokens.push_back(token);
  };
  for (const char* key : kNamed)
    if (config_.contains(key) && !config_[key].is_null()) add(config_[key]);
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"})
    if (config_.contains(key) && config_[key].is_array())
      for (const json& token : config_[key]) add(token);
  return tokens;
}

int64_t SpecialTokens::number(const char* key, int64_t fallback) const {
  const json value = config_.value(key, json());
  if (value.is_null()) return fallback;
  check(value.is_number() && value.get<double>() >= 0, ErrorCode::bad_file,
        "{}: expected \"{}\" to be a number from 0, found {}", file_, key, value.dump());
  // transformers writes 1e30 for "no limit".
  return value.get<double>() < 9e18 ? value.get<int64_t>() : std::numeric_limits<int64_t>::max();
}

int64_t SpecialTokens::model_max_length() const {
  return number("model_max_length", std::numeric_limits<int64_t>::max());
}

int32_t SpecialTokens::id(const TokenPipeline& pipeline, const char* key) const {
  const std::string token = content(key);
  const auto added = pipeline.added->id_of(token);
  const auto id = added ? added : pipeline.model->id_of(token);
  check(id.has_value(), ErrorCode::bad_file, "{}: expected \"{}\" to be a token of the vocabulary, found \"{}\"", file_,
        key, token);
  return *id;
}

void SpecialTokens::apply(TokenPipeline& pipeline) const {
  pipeline.pad_id = id(pipeline, "pad_token");
  pipeline.eos_id = id(pipeline, "eos_token");
  pipeline.model_max_length = model_max_length();
}

void SpecialTokens::check_length(const TokenPipeline& pipeline) const {
  const auto least = std::max<int64_t>(1, static_cast<int64_t>(pipeline.prefix.size() + pipeline.suffix.size()));
  check(pipeline.model_max_length >= least, ErrorCode::bad_file,
        "{}: expected \"model_max_length\" to be at least {}, the special tokens, found {}", file_, least,
        pipeline.model_max_length);
}

}  // namespace fx
