// Ids against those of transformers and tokenizers; tools/reference/tokens_ref.py makes the golden files.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "text/tokenizer.h"
#include "text/tokenizer_files.h"

namespace fx::test {
namespace {

using nlohmann::json;

std::vector<std::string> prompts() { return read_golden("tokens_prompts.json").get<std::vector<std::string>>(); }

void expect_ids(const Tokenizer& tokenizer, const std::vector<std::string>& texts, const json& expected, int length) {
  ASSERT_EQ(texts.size(), expected.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const TokenIds actual = tokenizer.encode(texts[i], length);
    ASSERT_EQ(actual.ids.size(), static_cast<size_t>(length));
    auto padded = expected[i].get<std::vector<int32_t>>();
    EXPECT_EQ(actual.used, static_cast<int64_t>(padded.size())) << json(texts[i]).dump(-1, ' ', true);
    padded.resize(length, tokenizer.pad_id());
    EXPECT_EQ(actual.ids, padded) << json(texts[i]).dump(-1, ' ', true);
  }
}

// The published vocabularies are too large for the repository; they lie beside it.
std::filesystem::path real_folder() {
  const char* shared = std::getenv("FLUXSWAP_SHARED");
  const auto root =
      shared ? std::filesystem::path(shared) : std::filesystem::path(FLUXSWAP_SOURCE_DIR) / ".." / "shared";
  return root / "data" / "tokenizers";
}

TEST(TokensGolden, there_are_at_least_300_prompts) { EXPECT_GE(prompts().size(), 300u); }

TEST(TokensGolden, clip_with_the_published_vocabulary) {
  if (!std::filesystem::exists(real_folder()))
    GTEST_SKIP() << "no published vocabularies in " << real_folder()
                 << "; set FLUXSWAP_SHARED to the folder above data/";
  const json golden = read_golden("tokens_clip.json");
  expect_ids(*load_clip_tokenizer(real_folder() / "clip"), prompts(), golden["ids"], golden["max_length"]);
}

TEST(TokensGolden, t5_with_the_published_vocabulary) {
  if (!std::filesystem::exists(real_folder()))
    GTEST_SKIP() << "no published vocabularies in " << real_folder()
                 << "; set FLUXSWAP_SHARED to the folder above data/";
  const json golden = read_golden("tokens_t5.json");
  expect_ids(*load_t5_tokenizer(real_folder() / "t5"), prompts(), golden["ids"], golden["max_length"]);
}

TEST(TokensGolden, tiny_clip_from_vocab_and_merges) {
  const json golden = read_golden("tokens_tiny.json");
  const auto tokenizer = load_clip_tokenizer(tiny_folder("clip"));
  for (const char* name : {"clip", "clip short"})
    expect_ids(*tokenizer, prompts(), golden[name], golden["lengths"][name]);
}

TEST(TokensGolden, tiny_t5_from_tokenizer_json_which_wins_over_spiece_model) {
  const json golden = read_golden("tokens_tiny.json");
  expect_ids(*load_t5_tokenizer(tiny_folder("t5")), prompts(), golden["t5 json"], golden["lengths"]["t5 json"]);
  TempFolder folder;
  copy_tiny("t5", folder.path());
  write_file(folder.path() / "spiece.model", "not a model");
  EXPECT_NO_THROW(load_t5_tokenizer(folder.path()));
}

TEST(TokensGolden, tiny_t5_from_spiece_model_alone) {
  const json golden = read_golden("tokens_tiny.json");
  TempFolder folder;
  copy_tiny("t5", folder.path());
  std::filesystem::remove(folder.path() / "tokenizer.json");
  expect_ids(*load_t5_tokenizer(folder.path()), prompts(), golden["t5 spiece"], golden["lengths"]["t5 spiece"]);
}

// The tokenizer.json of a variant: values put in place, tokens taken out of the vocabulary, byte tokens added.
json patched(json base, const json& variant) {
  for (const auto& [pointer, value] : variant["set"].items()) base[json::json_pointer(pointer)] = value;
  for (const auto& token : variant["drop"]) base["model"]["vocab"].erase(token.get<std::string>());
  for (int b = 0; variant["bytes"].get<bool>() && b < 256; ++b)
    base["model"]["vocab"].push_back(json::array({fmt::format("<0x{:02X}>", b), -20.0}));
  return base;
}

TEST(TokensGolden, every_step_that_a_tokenizer_json_may_have) {
  const json golden = read_golden("tokens_variants.json");
  for (const auto& [name, variant] : golden["variants"].items()) {
    SCOPED_TRACE(name);
    const bool clip = variant["base"] == "clip";
    TempFolder folder;
    copy_tiny(clip ? "clip_json" : "t5", folder.path());
    const auto file = folder.path() / "tokenizer.json";
    write_file(file, patched(json::parse(read_file(file)), variant).dump());
    const auto tokenizer = clip ? load_clip_tokenizer(folder.path()) : load_t5_tokenizer(folder.path());
    expect_ids(*tokenizer, golden["prompts"], golden[name], golden["max_length"]);
  }
}

}  // namespace
}  // namespace fx::test
