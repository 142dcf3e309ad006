// What encode promises besides the ids: padding, truncation, what was cut off, and refusal of text that is not UTF-8.
#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "support/expect_error.h"
#include "text/tokenizer_files.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace fx::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr int kClipStart = 632, kClipEnd = 633;  // of the tiny CLIP vocabulary

TEST(Tokenizer, pads_clip_with_the_end_of_text) {
  const auto clip = load_clip_tokenizer(tiny_folder("clip"));
  EXPECT_EQ(clip->pad_id(), kClipEnd);
  EXPECT_EQ(clip->eos_id(), kClipEnd);
  EXPECT_EQ(clip->model_max_length(), 77);
  const TokenIds empty = clip->encode("", 5);
  EXPECT_EQ(empty.ids, (std::vector<int32_t>{kClipStart, kClipEnd, kClipEnd, kClipEnd, kClipEnd}));
  EXPECT_EQ(empty.used, 2);
  EXPECT_EQ(empty.cut_off, "");
}

TEST(Tokenizer, pads_t5_with_its_own_token) {
  const auto t5 = load_t5_tokenizer(tiny_folder("t5"));
  EXPECT_EQ(t5->pad_id(), 0);
  EXPECT_EQ(t5->eos_id(), 1);
  EXPECT_EQ(t5->model_max_length(), 512);
  EXPECT_EQ(t5->encode("", 4).ids, (std::vector<int32_t>{1, 0, 0, 0}));
}

TEST(Tokenizer, keeps_the_end_token_and_says_what_was_cut_off) {
  const auto clip = load_clip_tokenizer(tiny_folder("clip"));
  const std::string prompt = "A small  RED star left of a large blue circle.";
  const TokenIds all = clip->encode(prompt, 77);
  EXPECT_EQ(all.cut_off, "");
  for (int length = 2; length < all.used; ++length) {
    const TokenIds some = clip->encode(prompt, length);
    EXPECT_EQ(some.used, length);
    EXPECT_EQ(some.ids.front(), kClipStart);
    EXPECT_EQ(some.ids.back(), kClipEnd);
    EXPECT_TRUE(std::equal(some.ids.begin(), some.ids.end() - 1, all.ids.begin()));
    EXPECT_FALSE(some.cut_off.empty());
    EXPECT_TRUE(prompt.ends_with(some.cut_off)) << some.cut_off;
  }
  EXPECT_EQ(clip->encode(prompt, 2).cut_off, prompt);
  EXPECT_EQ(clip->encode(prompt, static_cast<int>(all.used) - 1).cut_off, ".");
}

TEST(Tokenizer, cuts_off_in_the_words_of_the_prompt_whatever_normalisation_made_of_them) {
  const auto t5 = load_t5_tokenizer(tiny_folder("t5"));
  const std::string prompt = "cafe\u0301 \uFF21\uFF42 \u4E2D\u6587 </s> tail";
  const TokenIds all = t5->encode(prompt, 100);
  for (int length = 1; length < all.used; ++length) {
    const TokenIds some = t5->encode(prompt, length);
    EXPECT_EQ(some.ids.back(), 1);
    EXPECT_TRUE(prompt.ends_with(some.cut_off)) << some.cut_off;
    EXPECT_NO_THROW(decode_utf8(some.cut_off));
  }
  EXPECT_EQ(t5->encode(prompt, 1).cut_off, prompt);
}

TEST(Tokenizer, refuses_a_length_without_room_for_the_special_tokens) {
  const auto clip = load_clip_tokenizer(tiny_folder("clip"));
  for (const int length : {-1, 0, 1})
    EXPECT_THAT(error_of(ErrorCode::invalid_argument, [&] { clip->encode("a", length); }),
                HasSubstr("at least 2 tokens, found " + std::to_string(length)));
}

TEST(Tokenizer, refuses_a_prompt_of_4_gib) {
  const auto clip = load_clip_tokenizer(tiny_folder("clip"));
  const std::string_view too_long("a", size_t{std::numeric_limits<uint32_t>::max()});  // refused before it is read
  EXPECT_THAT(error_of(ErrorCode::invalid_argument, [&] { clip->encode(too_long, 77); }),
              HasSubstr("4294967295 bytes"));
}

TEST(Tokenizer, refuses_text_that_is_not_utf8_and_names_the_offset) {
  const auto clip = load_clip_tokenizer(tiny_folder("clip"));
  const std::vector<std::pair<std::string, int>> bad{{"\x80", 0},
                                                     {"ab\xC3", 2},
                                                     {"ab\xC3(", 2},
                                                     {"\xC0\xAF", 0},
                                                     {"\xC1\xBF", 0},
                                                     {"a\xE2\x82", 1},
                                                     {"\xE0\x80\x80", 0},
                                                     {"\xED\xA0\x80", 0},
                                                     {"\xED\xBF\xBF", 0},
                                                     {"xyz\xF0\x9F\x98", 3},
                                                     {"\xF0\x80\x80\x80", 0},
                                                     {"\xF4\x90\x80\x80", 0},
                                                     {"\xF5\x80\x80\x80", 0},
                                                     {"caf\xC3\xA9 \xFF", 6},
                                                     {"\xE2(\xA1", 0}};
  for (const auto& [text, offset] : bad)
    EXPECT_THAT(error_of(ErrorCode::invalid_argument, [&] { clip->encode(text, 77); }),
                HasSubstr("offset " + std::to_string(offset) + " "));
}

TEST(Utf8, comes_back_as_it_was) {
  const std::string text("a\0\u007F\u0080\u07FF\u0800\uD7FF\uE000\uFFFF\U00010000\U0010FFFF", 28);
  std::vector<uint32_t> offsets;
  const std::u32string chars = decode_utf8(text, &offsets);
  EXPECT_EQ(chars.size(), offsets.size());
  EXPECT_EQ(encode_utf8(chars), text);
  for (const char32_t c : chars) EXPECT_EQ(utf8_size(c), static_cast<int>(encode_utf8({&c, 1}).size()));
}

TEST(Unicode, knows_letters_numbers_and_words) {
  using namespace std::string_view_literals;
  for (const char32_t c : U"a\u00DF\u4E2D\u0301\u24D0_9\u2160\u203F\u200D"sv)
    EXPECT_TRUE(is_word(c)) << static_cast<int>(c);
  for (const char32_t c : U" -.\u00B2\u2026\U0001F600"sv) EXPECT_FALSE(is_word(c)) << static_cast<int>(c);
  EXPECT_TRUE(is_letter(0x1C89));   // Unicode 16
  EXPECT_TRUE(is_number(0x10D40));  // Unicode 16
  EXPECT_FALSE(is_letter(0x0301));
}

TEST(SpecialTokens, come_from_the_config_and_may_lack_files) {
  TempFolder folder;
  copy_tiny("clip", folder.path());
  std::filesystem::remove(folder / "special_tokens_map.json");
  std::filesystem::remove(folder / "tokenizer_config.json");
  const auto plain = load_clip_tokenizer(folder.path());
  EXPECT_EQ(plain->model_max_length(), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(plain->pad_id(), kClipEnd);
  // A name without flags is looked for as it was typed, one with "normalized" in lower case.
  EXPECT_NE(plain->encode("<|STARTOFTEXT|>", 9).ids[1], kClipStart);
  EXPECT_EQ(load_clip_tokenizer(tiny_folder("clip"))->encode("<|STARTOFTEXT|>", 9).ids[1], kClipStart);

  folder.file("tokenizer_config.json", R"({"pad_token": "!", "model_max_length": 1000000000000000019884624838656})");
  const auto other = load_clip_tokenizer(folder.path());
  EXPECT_EQ(other->pad_id(), 0);
  EXPECT_EQ(other->eos_id(), kClipEnd);
  EXPECT_EQ(other->model_max_length(), std::numeric_limits<int64_t>::max());
}

TEST(SpecialTokens, of_added_tokens_decoder_win_over_names) {
  TempFolder folder;
  copy_tiny("clip", folder.path());
  folder.file("tokenizer_config.json", R"({"added_tokens_decoder": {
      "632": {"content": "<|startoftext|>", "normalized": false, "special": true},
      "633": {"content": "<|endoftext|>", "normalized": true, "special": true}}})");
  const auto tokenizer = load_clip_tokenizer(folder.path());
  EXPECT_NE(tokenizer->encode("<|STARTOFTEXT|>", 9).ids[1], kClipStart);
  EXPECT_EQ(tokenizer->encode("<|ENDOFTEXT|>", 9).used, 3);
}

TEST(SpecialTokens, stand_around_the_text_even_if_tokenizer_json_does_not_say_so) {
  TempFolder folder;
  for (const char* name : {"t5", "clip_json"}) {
    copy_tiny(name, folder / name);
    const auto file = folder / name / "tokenizer.json";
    json config = json::parse(read_file(file));
    config["post_processor"] = nullptr;
    write_file(file, config.dump());
  }
  EXPECT_EQ(load_t5_tokenizer(folder / "t5")->encode("", 3).ids, (std::vector<int32_t>{1, 0, 0}));
  EXPECT_EQ(load_clip_tokenizer(folder / "clip_json")->encode("", 3).ids,
            (std::vector<int32_t>{kClipStart, kClipEnd, kClipEnd}));
}

TEST(TokenizerJson, of_old_files_need_not_name_the_model_nor_write_merges_as_pairs) {
  TempFolder folder;
  for (const char* name : {"t5", "clip_json"}) {
    copy_tiny(name, folder / name);
    const auto file = folder / name / "tokenizer.json";
    json config = json::parse(read_file(file));
    config["model"].erase("type");
    if (config["model"].contains("merges"))
      for (json& merge : config["model"]["merges"])
        merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
    write_file(file, config.dump());
  }
  const std::string prompt = "a small red star left of a large blue circle";
  EXPECT_EQ(load_t5_tokenizer(folder / "t5")->encode(prompt, 50).ids,
            load_t5_tokenizer(tiny_folder("t5"))->encode(prompt, 50).ids);
  EXPECT_EQ(load_clip_tokenizer(folder / "clip_json")->encode(prompt, 50).ids,
            load_clip_tokenizer(tiny_folder("clip"))->encode(prompt, 50).ids);
}

}  // namespace
}  // namespace fx::test
