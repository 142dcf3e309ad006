// How the command line names adapters.
#include "adapter_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "adapter_choice.h"
#include "support/expect_error.h"
#include "support/temp_folder.h"
#include "usage_error.h"

namespace fx::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class AdapterSpec : public ::testing::Test {
 protected:
  static AdapterChoice choice(const std::string& file, float scale = 1.0f) { return {file, {.scale = scale}}; }
  static std::string usage_error(const std::string& text) {
    try {
      parse_adapter(text);
    } catch (const UsageError& error) { return error.what(); }
    return "";
  }
  const fx::test::TempFolder temp_;
  const std::string plain_ = temp_.file("a.safetensors", "").string(), colon_ = temp_.file("b:c", "").string(),
                    plus_ = temp_.file("d+e", "").string(), all_ = temp_.file("f:1@0-1~x=1", "").string();
};

TEST_F(AdapterSpec, FileAndScale) {
  EXPECT_EQ(parse_adapter(plain_), choice(plain_));
  EXPECT_EQ(parse_adapter(plain_ + ":0.5"), choice(plain_, 0.5f));
  EXPECT_EQ(parse_adapter(plain_ + ":-2e-1"), choice(plain_, -0.2f));
  EXPECT_EQ(parse_adapter("name:0.5"), choice("name", 0.5f));
}

TEST_F(AdapterSpec, TextEncodersStepsAndBlocks) {
  const AdapterChoice found = parse_adapter(plain_ + ":0.8:0@0.25-0.6~double_blocks.*=0.5,img_in=-1");
  EXPECT_EQ(found.file, plain_);
  EXPECT_EQ(found.settings.scale, 0.8f);
  EXPECT_EQ(found.settings.text_encoder_scale, 0.0f);
  EXPECT_EQ(found.settings.steps, (StepRange{0.25, 0.6}));
  EXPECT_THAT(found.settings.blocks, ElementsAre(BlockWeight{"double_blocks.*", 0.5f}, BlockWeight{"img_in", -1.0f}));
  EXPECT_EQ(describe_adapters({found}), "a:0.8:0@0.25-0.6~double_blocks.*=0.5,img_in=-1");
  EXPECT_EQ(parse_adapter(plain_ + "@0-0.5").settings, (AdapterSettings{.steps = {0, 0.5}}));
  EXPECT_EQ(parse_adapter(plain_ + "~x=2").settings, (AdapterSettings{.blocks = {{"x", 2.0f}}}));
}

TEST_F(AdapterSpec, FileNamesMayHaveEverySeparator) {
  EXPECT_EQ(parse_adapter(colon_), choice(colon_));
  EXPECT_EQ(parse_adapter(colon_ + ":3"), choice(colon_, 3.0f));
  EXPECT_EQ(parse_adapter(all_), choice(all_));
  EXPECT_EQ(parse_adapter(all_ + ":3"), choice(all_, 3.0f));
  EXPECT_EQ(parse_adapter(all_ + "@0-0.5").file, all_);
  for (const char* gone : {"gone:x", "a@b", "a@2-3", "a~b", "a:", "a:1:2:3", "a~=1"}) {
    EXPECT_EQ(parse_adapter(gone).file, gone);
  }
}

TEST_F(AdapterSpec, WhatDoesNotReadBehindAFileIsAnError) {
  for (const char* suffix : {":x", ":nan", ":1e99", ":", ":1:x", ":1:1:1"}) {
    EXPECT_THAT(usage_error(plain_ + suffix), HasSubstr("expected a finite number")) << suffix;
  }
  for (const char* suffix : {"@0.5", "@0-2", "@-1-0.5", "@0.6-0.5", "@", "@0-1@0-1"}) {
    EXPECT_THAT(usage_error(plain_ + suffix), HasSubstr("expected START-END")) << suffix;
  }
  for (const char* suffix : {"~x", "~x=", "~=1", "~x=1,", "~x=1~y=1"}) {
    EXPECT_THAT(usage_error(plain_ + suffix), HasSubstr("expected PATTERN=FACTOR")) << suffix;
  }
  for (const char* text : {"", ":1", "@0-1", "~x=1"}) EXPECT_THAT(usage_error(text), HasSubstr("expected FILE"));
}

TEST_F(AdapterSpec, Sets) {
  EXPECT_THAT(parse_adapter_set(plain_ + ":0.5+" + colon_), ElementsAre(choice(plain_, 0.5f), choice(colon_)));
  EXPECT_THAT(parse_adapter_set(plus_), ElementsAre(choice(plus_)));
  EXPECT_THAT(parse_adapter_set(plus_ + ":0.5"), ElementsAre(choice(plus_, 0.5f)));
  EXPECT_THAT(parse_adapter_set("x:0.5+y@0-0.5"), ElementsAre(choice("x", 0.5f), parse_adapter("y@0-0.5")));
  EXPECT_THROW(parse_adapter_set(plain_ + "+"), UsageError);
}

class Chooser : public AdapterSpec {
 protected:
  const std::string ink_ = temp_.file("ink.safetensors", "").string();
  AdapterOptions options_{.folders = {temp_.path()}};
};

TEST_F(Chooser, NamesBecomeFiles) {
  AdapterChooser chooser(options_);
  EXPECT_THAT(chooser.files_of({choice("ink", 0.5f)}), ElementsAre(choice(ink_, 0.5f)));
  EXPECT_THAT(chooser.files_of({choice("Ink.safetensors")}), ElementsAre(choice(ink_)));
  EXPECT_THAT(chooser.files_of({choice(plain_)}), ElementsAre(choice(plain_)));
  EXPECT_THROW(chooser.files_of({choice("inc")}), UsageError);
  AdapterChooser none({});
  EXPECT_THAT(test::error_of(ErrorCode::bad_file, [&] { none.files_of({choice("ink")}); }), HasSubstr("no such file"));
}

TEST_F(Chooser, APeftFolderIsAnAdapter) {
  std::filesystem::create_directory(temp_ / "peft");
  const std::string file = temp_.file("peft/adapter_model.safetensors", "").string();
  AdapterChooser none({});
  EXPECT_THAT(none.files_of({choice((temp_ / "peft").string())}), ElementsAre(choice(file)));
}

TEST_F(Chooser, TagsActBesidesOrGiveOtherScales) {
  options_.choices = {parse_adapter(plain_ + ":0.5@0-0.5")};
  options_.merge = true;
  std::string prompt = "a fox <lora:ink:0.25:0.75> <lora:a:2>";
  resolve(options_, prompt);
  EXPECT_EQ(prompt, "a fox");
  EXPECT_THAT(options_.choices,
              ElementsAre(AdapterChoice{plain_, {.scale = 2, .steps = {0, 0.5}, .merge = true}},
                          AdapterChoice{ink_, {.scale = 0.75f, .text_encoder_scale = 0.25f, .merge = true}}));
}

TEST_F(Chooser, UnknownTagsSayWhatIsAlike) {
  std::string prompt = "<lora:inkk:0.8>";
  const AdapterChooser chooser(options_);
  EXPECT_THAT(test::error_of(ErrorCode::invalid_argument, [&] { chooser.take_tags(prompt); }),
              HasSubstr("<lora:inkk:0.8>: there is no adapter 'inkk'; near matches: 'ink'"));
}

}  // namespace
}  // namespace fx::cli
