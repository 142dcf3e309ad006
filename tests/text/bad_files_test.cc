// Every error that a damaged or unknown tokenizer file can cause, and none of them a crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "support/expect_error.h"
#include "text/charsmap.h"
#include "text/tokenizer.h"
#include "text/tokenizer_files.h"

namespace fx::test {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto bad = ErrorCode::bad_file;
constexpr auto unsupported = ErrorCode::unsupported;

void load(const std::string& kind, const std::filesystem::path& folder) {
  const auto tokenizer = kind.starts_with("clip") ? load_clip_tokenizer(folder) : load_t5_tokenizer(folder);
  tokenizer->encode("a caf\u00E9, \u2460 \uFF42ox </s> <|endoftext|>", 77);  // some damage shows only here
}

// The message for a tiny tokenizer with one file replaced.
std::string error_with(ErrorCode code, const std::string& kind, const std::string& file, const std::string& contents) {
  TempFolder folder;
  copy_tiny(kind, folder.path());
  if (file == "spiece.model") std::filesystem::remove(folder / "tokenizer.json");
  write_file(folder / file, contents);
  const std::string message = error_of(code, [&] { load(kind, folder.path()); });
  EXPECT_THAT(message, HasSubstr(file));
  return message;
}

// The same, with one value of its tokenizer.json replaced; the text is JSON.
std::string error_at(ErrorCode code, const std::string& kind, const std::string& pointer, const std::string& value) {
  json config = json::parse(read_file(tiny_folder(kind) / "tokenizer.json"));
  config[json::json_pointer(pointer)] = json::parse(value);
  return error_with(code, kind, "tokenizer.json", config.dump());
}

TEST(BadTokenizer, missing_files) {
  TempFolder folder;
  EXPECT_THAT(error_of(bad, [&] { load_clip_tokenizer(folder / "none"); }),
              HasSubstr("vocab.json: expected a file, found none"));
  EXPECT_THAT(error_of(bad, [&] { load_t5_tokenizer(folder / "none"); }), HasSubstr("found neither"));
  copy_tiny("clip", folder.path());
  std::filesystem::remove(folder / "merges.txt");
  EXPECT_THAT(error_of(bad, [&] { load_clip_tokenizer(folder.path()); }), HasSubstr("merges.txt"));
  std::filesystem::create_directory(folder / "merges.txt");
  EXPECT_THAT(error_of(bad, [&] { load_clip_tokenizer(folder.path()); }), HasSubstr("cannot be read"));
}

// What cannot even be looked at is named, too.
TEST(BadTokenizer, links_in_circles) {
  for (const std::string kind : {"clip", "clip_json", "t5"}) {
    for (const std::string file :
         {"tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "spiece.model"}) {
      const bool used = file.starts_with("tokenizer") || (kind == "clip" && file != "spiece.model");
      if (!used) continue;
      TempFolder folder;
      copy_tiny(kind, folder.path());
      std::filesystem::remove(folder / file);
      std::filesystem::create_symlink(file, folder / file);
      EXPECT_THAT(error_of(bad, [&] { load(kind, folder.path()); }),
                  AllOf(HasSubstr(file), HasSubstr("symbolic links")));
    }
  }
  TempFolder folder;
  copy_tiny("t5", folder.path());
  std::filesystem::remove(folder / "tokenizer.json");
  std::filesystem::remove(folder / "spiece.model");
  std::filesystem::create_symlink("spiece.model", folder / "spiece.model");
  EXPECT_THAT(error_of(bad, [&] { load_t5_tokenizer(folder.path()); }), HasSubstr("symbolic links"));
}

TEST(BadTokenizer, json_that_is_none) {
  EXPECT_THAT(error_with(bad, "clip", "vocab.json", R"({"a": 1)"), HasSubstr("expected JSON"));
  EXPECT_THAT(error_with(bad, "clip", "vocab.json", ""), HasSubstr("expected JSON"));
  EXPECT_THAT(error_with(bad, "clip", "vocab.json", "{\"\xFF\": 1}"), HasSubstr("expected JSON"));
  EXPECT_THAT(error_with(bad, "clip", "vocab.json", R"(["a"])"), HasSubstr("expected a JSON object, found array"));
  EXPECT_THAT(error_with(bad, "t5", "tokenizer.json", "[]"), HasSubstr("expected a JSON object"));
  EXPECT_THAT(error_with(bad, "t5", "tokenizer.json", std::string(1000, '[')), HasSubstr("at most 64 levels"));
  EXPECT_THAT(error_with(bad, "t5", "tokenizer.json", "{}"), HasSubstr("expected an object \"model\", found none"));
}

TEST(BadTokenizer, vocabulary_and_merges) {
  EXPECT_THAT(error_with(bad, "clip", "vocab.json", R"({"a": "b"})"), HasSubstr("id of \"a\""));
  EXPECT_THAT(error_with(bad, "clip", "vocab.json", R"({"a": -1})"), HasSubstr("found -1"));
  EXPECT_THAT(error_with(bad, "clip", "merges.txt", "#version: 0.2\na b\nabc\n"), HasSubstr("two tokens in line 3"));
  EXPECT_THAT(error_with(bad, "clip", "merges.txt", "a b c\n"), HasSubstr("two tokens in line 1"));
  const std::string vocab = R"({"a": 0, "b": 1, "<|endoftext|>": 2, "<|startoftext|>": 3})";
  TempFolder folder;
  copy_tiny("clip", folder.path());
  write_file(folder / "vocab.json", vocab);
  write_file(folder / "merges.txt", "a b\n");
  EXPECT_THAT(error_of(bad, [&] { load_clip_tokenizer(folder.path()); }),
              AllOf(HasSubstr("merge 1"), HasSubstr("no \"ab\"")));
  for (const char* empty : {"", "#version: 0.2\n"}) {
    write_file(folder / "merges.txt", empty);
    EXPECT_THAT(error_of(bad, [&] { load_clip_tokenizer(folder.path()); }),
                HasSubstr("merges.txt: expected merges, two tokens a line, found none"));
  }
  write_file(folder / "merges.txt", "a b\n");
  write_file(folder / "vocab.json", R"({"a": 0, "b": 1, "ab": 2, "<|startoftext|>": 3})");
  EXPECT_THAT(error_of(bad, [&] { load_clip_tokenizer(folder.path()); }), HasSubstr("unknown token \"<|endoftext|>\""));
}

TEST(BadTokenizer, special_tokens) {
  const std::string config = "tokenizer_config.json";
  EXPECT_THAT(error_with(unsupported, "clip_json", config, R"({"padding_side": "left"})"), HasSubstr("only right"));
  EXPECT_THAT(error_with(unsupported, "t5", config, R"({"truncation_side": "left"})"), HasSubstr("truncation_side"));
  EXPECT_THAT(error_with(bad, "clip_json", config, R"({"pad_token": "nothing"})"), HasSubstr("found \"nothing\""));
  EXPECT_THAT(error_with(bad, "clip_json", config, R"({"pad_token": 3})"), HasSubstr("expected a token, found 3"));
  EXPECT_THAT(error_with(bad, "clip_json", config, R"({"pad_token": {"lstrip": true}})"), HasSubstr("\"content\""));
  EXPECT_THAT(error_with(bad, "clip_json", config, R"({"model_max_length": "long"})"), HasSubstr("model_max_length"));
  EXPECT_THAT(error_with(bad, "clip_json", config, R"({"model_max_length": -1})"), HasSubstr("found -1"));
  EXPECT_THAT(error_with(bad, "clip_json", config, R"({"model_max_length": 1})"), HasSubstr("at least 2"));
  EXPECT_THAT(error_with(bad, "clip_json", config, R"({"added_tokens_decoder": []})"), HasSubstr("to be an object"));
  EXPECT_THAT(error_with(bad, "clip_json", config, R"({"added_tokens_decoder": {"x": {}}})"), HasSubstr("found \"x\""));
}

TEST(BadTokenizer, sections_of_tokenizer_json) {
  EXPECT_THAT(error_at(unsupported, "t5", "/model/type", R"("WordPiece")"), HasSubstr("the model \"WordPiece\""));
  EXPECT_THAT(error_at(unsupported, "t5", "/normalizer", R"({"type": "BertNormalizer"})"),
              HasSubstr("the normalizer \"BertNormalizer\""));
  EXPECT_THAT(error_at(unsupported, "t5", "/pre_tokenizer", R"({"type": "Digits"})"),
              HasSubstr("the pre-tokenizer \"Digits\""));
  EXPECT_THAT(error_at(unsupported, "t5", "/post_processor", R"({"type": "Odd"})"),
              HasSubstr("the post-processor \"Odd\""));
  EXPECT_THAT(error_at(bad, "t5", "/normalizer", R"({"kind": "NFC"})"), HasSubstr("\"type\", found none"));
  EXPECT_THAT(error_at(bad, "t5", "/normalizer", R"({"type": 3})"), HasSubstr("\"type\" to be a string, found number"));
  EXPECT_THAT(error_at(bad, "t5", "/normalizer", R"({"type": "Sequence", "normalizers": 3})"),
              HasSubstr("to be an array"));
  EXPECT_THAT(error_at(bad, "t5", "/normalizer", R"({"type": "Strip", "strip_left": 1})"),
              HasSubstr("to be true or false"));
  EXPECT_THAT(error_at(bad, "t5", "/added_tokens/0", R"({"id": 0})"), HasSubstr("\"content\""));
}

TEST(BadTokenizer, patterns) {
  const auto replace = [](const char* pattern) {
    return fmt::format(R"({{"type": "Replace", "content": "x", "pattern": {}}})", pattern);
  };
  EXPECT_THAT(error_at(unsupported, "t5", "/normalizer", replace(R"({"String": ""})")), HasSubstr("empty pattern"));
  EXPECT_THAT(error_at(bad, "t5", "/normalizer", replace("3")), HasSubstr("as a pattern, found 3"));
  for (const char* regex :
       {"[ab]+", "a*", "a{2", "a{}", "a{0,}", "a{,2}", "a{2}b", "\\\\d+", "(a)", "", "a{12345}", "ab+", "\\\\s{x}"})
    EXPECT_THAT(error_at(unsupported, "t5", "/normalizer", replace(fmt::format(R"({{"Regex": "{}"}})", regex).c_str())),
                HasSubstr("regular expression"))
        << regex;
}

TEST(BadTokenizer, pre_tokenizers) {
  const auto metaspace = [](const char* rest) { return fmt::format(R"({{"type": "Metaspace", {}}})", rest); };
  EXPECT_THAT(error_at(bad, "t5", "/pre_tokenizer", metaspace(R"("replacement": "ab")")), HasSubstr("one character"));
  EXPECT_THAT(error_at(bad, "t5", "/pre_tokenizer", metaspace(R"("replacement": "_", "prepend_scheme": "odd")")),
              HasSubstr("prepend_scheme"));
  EXPECT_THAT(error_at(unsupported, "clip_json", "/pre_tokenizer/pretokenizers/0/pattern/Regex", R"("a+")"),
              HasSubstr("the pattern \"a+\""));
  EXPECT_THAT(error_at(unsupported, "clip_json", "/pre_tokenizer/pretokenizers/0/behavior", R"("Isolated")"),
              HasSubstr("Isolated"));
}

TEST(BadTokenizer, post_processors) {
  const auto single = [](const char* list) {
    return fmt::format(R"({{"type": "TemplateProcessing", "special_tokens": {{"x": {{"ids": [-1]}}}}, "single": {}}})",
                       list);
  };
  EXPECT_THAT(error_at(unsupported, "t5", "/post_processor", single(R"([{"Sequence": {}}, {"Sequence": {}}])")),
              HasSubstr("repeats the text"));
  EXPECT_THAT(error_at(bad, "t5", "/post_processor", single("[]")), HasSubstr("to hold the text, found none"));
  EXPECT_THAT(error_at(bad, "t5", "/post_processor", single(R"([{"SpecialToken": {"id": "x"}}])")),
              HasSubstr("found -1"));
  EXPECT_THAT(error_at(bad, "t5", "/post_processor", single(R"([{"SpecialToken": {"id": "y"}}])")),
              HasSubstr("\"y\", found none"));
  EXPECT_THAT(error_at(bad, "t5", "/post_processor", R"({"type": "BertProcessing", "cls": ["a"], "sep": []})"),
              HasSubstr("token id"));
}

TEST(BadTokenizer, models) {
  EXPECT_THAT(error_at(bad, "t5", "/model/vocab/7", R"(["a"])"), HasSubstr("a token and its score"));
  EXPECT_THAT(error_at(bad, "t5", "/model/unk_id", "99999"), HasSubstr("found 99999"));
  EXPECT_THAT(error_at(bad, "t5", "/model/unk_id", "null"), HasSubstr("found null"));
  EXPECT_THAT(error_at(bad, "clip_json", "/model/merges/3", R"(["a"])"), HasSubstr("a merge to be two tokens"));
  EXPECT_THAT(error_at(unsupported, "clip_json", "/model/dropout", "0.5"), HasSubstr("dropout"));
  EXPECT_THAT(error_at(unsupported, "clip_json", "/model/byte_fallback", "true"), HasSubstr("byte_fallback"));
  EXPECT_THAT(error_at(unsupported, "clip_json", "/model/continuing_subword_prefix", R"("##")"),
              HasSubstr("continuing_subword_prefix"));
}

TEST(BadTokenizer, character_maps) {
  const std::string at = "/normalizer/precompiled_charsmap";
  EXPECT_THAT(error_at(bad, "t5", at, R"("abc")"), HasSubstr("groups of 4"));
  EXPECT_THAT(error_at(bad, "t5", at, R"("a,cd")"), HasSubstr("found the byte 0x2C"));
  EXPECT_THAT(error_at(bad, "t5", at, R"("")"), HasSubstr("found 0 bytes in all"));
  EXPECT_THAT(error_at(bad, "t5", at, R"("/////wAA")"), HasSubstr("a trie of 4294967295 bytes"));
  EXPECT_EQ(decode_base64("YQ==", "x") + decode_base64("YWI=", "x") + decode_base64("YWJj", "x"), "aababc");

  // A map with the one key "a": the root has offset 0, so "a" is unit 'a'; its own offset 1 leads to its value in 'a' ^ 1.
  const auto apply = [](uint32_t value, const std::string& replacements, uint32_t offset = 1) {
    std::vector<uint32_t> units('a' + 1);
    units['a'] = 'a' | 1u << 8 | offset << 10;
    units['a' ^ 1] = value;
    std::string bytes(4 + 4 * units.size(), '\0');
    const auto size = static_cast<uint32_t>(4 * units.size());
    std::memcpy(bytes.data(), &size, 4);
    std::memcpy(bytes.data() + 4, units.data(), size);
    AlignedText text{U"a", {0}};
    Charsmap(bytes + replacements, "map").apply(text);
    return text.chars;
  };
  const std::string replacements("xy\0\xFF\0z", 6);
  EXPECT_EQ(apply(0, replacements), U"xy");
  EXPECT_EQ(apply(2, replacements), U"");
  EXPECT_EQ(apply(5, replacements), U"z");
  EXPECT_THAT(error_of(bad, [&] { apply(3, replacements); }), HasSubstr("a replacement in precompiled_charsmap"));
  EXPECT_THAT(error_of(bad, [&] { apply(7, replacements); }), HasSubstr("replacement byte 7, but has 6"));
  EXPECT_THAT(error_of(bad, [&] { apply(0, replacements, 1000); }), HasSubstr("but has 98"));
}

TEST(BadTokenizer, sentencepiece_models) {
  const std::string model = read_file(tiny_folder("t5") / "spiece.model");
  const auto error = [&](ErrorCode code, const std::string& bytes) {
    return error_with(code, "t5", "spiece.model", bytes);
  };
  const auto with = [&](const std::string& more) { return model + more; };  // later fields override earlier ones
  using namespace std::string_literals;
  EXPECT_THAT(error(bad, ""), HasSubstr("found no tokens"));
  EXPECT_THAT(error(bad, model.substr(0, model.size() - 1)), HasSubstr("damaged or truncated"));
  EXPECT_THAT(error(bad, with("\x0B")), HasSubstr("damaged"));                             // a group
  EXPECT_THAT(error(bad, with("\x08" + std::string(10, '\xFF'))), HasSubstr("damaged"));   // an endless number
  EXPECT_THAT(error(bad, with("\x09\x01"s)), HasSubstr("damaged"));                        // 8 bytes missing
  EXPECT_THAT(error(bad, with("\x0D\x01"s)), HasSubstr("damaged"));                        // 4 bytes missing
  EXPECT_THAT(error(bad, with("\x0A\x03\x0A\x01\xFF"s)), HasSubstr("not start a valid"));  // a token in no UTF-8
  EXPECT_THAT(error(bad, "\x0A\x03\x0A\x01q"s), HasSubstr("expected the unknown token"));
  EXPECT_THAT(error(unsupported, with("\x12\x02\x18\x02"s)), HasSubstr("of type 2"));  // byte pairs
  EXPECT_THAT(error(unsupported, with("\x12\x03\xC0\x01\x01"s)), HasSubstr("treat_whitespace_as_suffix"));
  EXPECT_THAT(error(unsupported, with("\x1A\x02\x18\x00"s)), HasSubstr("add_dummy_prefix"));
  TempFolder folder;
  copy_tiny("t5", folder.path());
  std::filesystem::remove(folder / "tokenizer.json");
  write_file(folder / "tokenizer_config.json", R"({"extra_ids": 1000000000})");
  EXPECT_THAT(error_of(unsupported, [&] { load_t5_tokenizer(folder.path()); }), HasSubstr("1000000000 extra_ids"));
}

// Loads, or says what is wrong.
void load_or_error(const std::filesystem::path& folder) {
  try {
    load("t5", folder);
  } catch (const Error& error) { EXPECT_TRUE(error.code() == bad || error.code() == unsupported) << error.what(); }
}

TEST(BadTokenizer, truncated_and_flipped_files_load_or_are_an_error) {
  for (const char* name : {"spiece.model", "tokenizer.json"}) {
    TempFolder folder;
    copy_tiny("t5", folder.path());
    if (name == std::string("spiece.model")) std::filesystem::remove(folder / "tokenizer.json");
    const std::string whole = read_file(folder / name);
    const size_t stride = whole.size() / 200 | 1;  // a sample: every byte would take a minute
    for (size_t size = 0; size < whole.size(); size += 3 * stride) {
      write_file(folder / name, whole.substr(0, size));
      load_or_error(folder.path());
    }
    for (size_t i = 0; i < whole.size(); i += stride) {
      std::string flipped = whole;
      flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i / stride % 8)));
      write_file(folder / name, flipped);
      load_or_error(folder.path());
    }
  }
}

}  // namespace
}  // namespace fx::test
