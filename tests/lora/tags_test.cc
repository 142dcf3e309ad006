#include "lora/tags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace fx::test {
namespace {

using ::testing::HasSubstr;

LoraTag tag_of(const std::string& text) {
  const TaggedPrompt prompt = take_lora_tags(text);
  EXPECT_EQ(prompt.tags.size(), 1u) << text;
  EXPECT_EQ(prompt.text, "");
  return prompt.tags.at(0);
}

TEST(LoraTags, AreTakenOutOfThePrompt) {
  const TaggedPrompt prompt = take_lora_tags("<lora:ink:0.8> a fox <lora:styles/neon> in the snow <lora:zorb:-1>");
  EXPECT_EQ(prompt.text, "a fox in the snow");
  EXPECT_EQ(prompt.tags, (std::vector<LoraTag>{{"ink", 0.8f}, {"styles/neon", 1.0f}, {"zorb", -1.0f}}));
}

TEST(LoraTags, LeaveAllOtherTextAsItIs) {
  for (const char* text : {"", "a fox", "  two  blanks ", "a <b> c", "<hypernet:x:1>", "1 < 2 > 0", "lora:ink:1>"}) {
    const TaggedPrompt prompt = take_lora_tags(text);
    EXPECT_EQ(prompt.text, text);
    EXPECT_TRUE(prompt.tags.empty());
  }
  EXPECT_EQ(take_lora_tags("a  fox,<lora:ink:1>, snow").text, "a  fox,, snow");
  EXPECT_EQ(take_lora_tags("a<lora:ink:1>b").text, "ab");
  EXPECT_EQ(take_lora_tags("a <lora:x:1> <lora:y:1> b").text, "a b");
  EXPECT_EQ(take_lora_tags("a <lora:x:1> <lora:y:1> ").text, "a");
}

TEST(LoraTags, ScalesAsInWebui) {
  EXPECT_EQ(tag_of("<lora:ink>"), (LoraTag{"ink", 1.0f}));
  EXPECT_EQ(tag_of("<lora: ink : +.5 >"), (LoraTag{"ink", 0.5f}));
  EXPECT_EQ(tag_of("<lora:ink:0.25:0.75>"), (LoraTag{"ink", 0.75f, 0.25f}));  // text encoders first
  EXPECT_EQ(tag_of("<lora:ink:0.5:0.5>"), (LoraTag{"ink", 0.5f}));
  EXPECT_EQ(tag_of("<lora:ink:te=0:unet=0.5>"), (LoraTag{"ink", 0.5f, 0.0f}));
  EXPECT_EQ(tag_of("<lora:ink:0.5:te=0>"), (LoraTag{"ink", 0.5f, 0.0f}));
  EXPECT_EQ(tag_of("<lora:ink:unet=0.5>"), (LoraTag{"ink", 0.5f, 1.0f}));
}

TEST(LoraTags, AreWrittenAsTheyAreRead) {
  for (const char* text : {"<lora:ink:0.8>", "<lora:ink:1>", "<lora:a b:0.25:0.75>", "<lora:ink:-1e-05>"}) {
    EXPECT_EQ(to_string(tag_of(text)), text);
  }
}

TEST(LoraTags, MalformedOnesAreErrors) {
  const auto error = [](const std::string& text) {
    return error_of(ErrorCode::invalid_argument, [&] { take_lora_tags(text); });
  };
  EXPECT_THAT(error("a fox <lora:ink:0.8"), HasSubstr("'<lora:ink:0.8': expected a '>'"));
  EXPECT_THAT(error("<lora:>"), HasSubstr("expected the name"));
  EXPECT_THAT(error("<lora: :1>"), HasSubstr("expected the name"));
  for (const char* scale : {"", "x", "0.8x", "nan", "inf", "1e99", "++1", "0,8"}) {
    EXPECT_THAT(error(std::string("<lora:ink:") + scale + ">"), HasSubstr("expected a finite number as scale"));
  }
  EXPECT_THAT(error("<lora:ink:1:1:1>"), HasSubstr("at most two scales, found 3"));
  EXPECT_THAT(error("<lora:ink:te=>"), HasSubstr("expected a finite number"));
}

}  // namespace
}  // namespace fx::test
