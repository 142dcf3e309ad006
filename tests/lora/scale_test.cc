// alpha / rank, wherever a file states it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "lora/adapter_file.h"
#include "lora/file/pattern.h"
#include "lora/file/read.h"
#include "lora/file/scale_rules.h"
#include "support/expect_error.h"
#include "support/temp_folder.h"

namespace fx::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kModule = "transformer.transformer_blocks.0.attn.to_q";

struct Scales {
  TempFolder folder;

  AdapterFile read(AdapterFileBuilder& builder) { return read_adapter_file(builder.write(folder / "a.safetensors")); }
  float scale(AdapterFileBuilder& builder) { return read(builder).modules.at(0).scale; }
};

TEST(AdapterScale, IsAlphaOverTheRankOfTheFile) {
  Scales files;
  AdapterFileBuilder builder;
  builder.pair(kModule, 5, 16, 16);
  EXPECT_EQ(files.scale(builder), 1.0f) << "without alpha";
  EXPECT_EQ(files.scale(builder.alpha(kModule, 3)), 3.0f / 5.0f);
  EXPECT_EQ(files.scale(builder.add(std::string(kModule) + ".alpha", {1}, {2})), 2.0f / 5.0f) << "shape (1)";
  const std::string key = std::string(kModule) + ".alpha";
  EXPECT_EQ(files.scale(builder.add_number<int64_t>(key, DType::i64, 10)), 2.0f);
  EXPECT_EQ(files.scale(builder.add_number<int32_t>(key, DType::i32, -10)), -2.0f);
  EXPECT_EQ(files.scale(builder.add_number<uint8_t>(key, DType::u8, 200)), 40.0f);
  EXPECT_EQ(files.scale(builder.add_number<int8_t>(key, DType::i8, -5)), -1.0f);
  EXPECT_EQ(files.scale(builder.add_number<uint16_t>(key, DType::bf16, f32_to_bf16(8))), 8.0f / 5.0f);
  EXPECT_EQ(files.scale(builder.add_number<double>(key, DType::f64, 1.5)), 0.3f);
}

TEST(AdapterScale, OfAModuleWithoutAlphaIsOneWhateverOthersHave) {
  Scales files;
  AdapterFileBuilder builder;
  builder.pair(kModule, 4, 16, 16).alpha(kModule, 1);
  builder.pair("transformer.transformer_blocks.0.attn.to_k", 4, 16, 16);
  for (const FileModule& module : files.read(builder).modules) {
    EXPECT_EQ(module.scale, module.name.ends_with("to_q") ? 0.25f : 1.0f);
  }
}

TEST(AdapterScale, ZeroAlphaDropsTheModuleWithAWarning) {
  Scales files;
  AdapterFileBuilder builder;
  builder.pair(kModule, 4, 16, 16).alpha(kModule, 0);
  const AdapterFile file = files.read(builder);
  EXPECT_EQ(file.modules.at(0).scale, 0.0f);
  EXPECT_THAT(file.report.warnings, ElementsAre(HasSubstr("0")));
}

TEST(AdapterScale, ReportsTheAlphaOfTheMetadata) {
  Scales files;
  AdapterFileBuilder builder;
  builder.pair(kModule, 4, 16, 16)
      .metadata("lora_adapter_metadata", R"({"r": 4, "lora_alpha": 6, "use_rslora": true})");
  const AdapterReport report = files.read(builder).report;
  EXPECT_THAT(report.alphas, ElementsAre(std::pair(6.0, 1u)));
  EXPECT_EQ(report.without_alpha, 0u);
}

TEST(AdapterScale, FollowsTheMetadataOfTheHeader) {
  const ScaleRules rules(R"({"transformer.r": 4, "transformer.lora_alpha": 6,
    "transformer.alpha_pattern": {"^transformer_blocks.0.attn.to_q": 2, "to_[kv]": 12, "to_k": 1},
    "transformer.rank_pattern": {"to_v": 8},
    "text_encoder.r": 4, "text_encoder.lora_alpha": 8, "text_encoder.use_rslora": true})",
                         "f");
  const auto transformer = [&](const char* module, int64_t rank) {
    return rules.scale(Component::transformer, module, rank);
  };
  EXPECT_EQ(transformer("transformer_blocks.0.attn.to_q", 4), 0.5f);
  EXPECT_EQ(transformer("transformer_blocks.1.attn.to_q", 4), 1.5f);
  EXPECT_EQ(transformer("transformer_blocks.0.attn.to_k", 4), 3.0f) << "the first pattern that matches";
  EXPECT_EQ(transformer("transformer_blocks.0.attn.to_v", 8), 1.5f);
  EXPECT_EQ(rules.scale(Component::text_encoder, "x", 4), 4.0f) << "alpha / sqrt(rank)";
  EXPECT_EQ(rules.scale(Component::text_encoder_2, "x", 4), std::nullopt);
  EXPECT_EQ(ScaleRules().scale(Component::transformer, "x", 4), std::nullopt);
  EXPECT_EQ(ScaleRules(R"({"r": 4, "lora_alpha": 6})", "f").scale(Component::transformer, "x", 4), 1.5f);
  EXPECT_EQ(ScaleRules(R"({"r": 4, "lora_alpha": null})", "f").scale(Component::transformer, "x", 4), std::nullopt);
  EXPECT_THAT(error_of(ErrorCode::bad_file, [&] { transformer("transformer_blocks.0.attn.to_q", 5); }),
              HasSubstr("'transformer_blocks.0.attn.to_q' the rank 4, but its matrices have 5"));
}

TEST(AdapterScale, RefusesMetadataThatSayNothingSensible) {
  const auto refusal = [](const char* text) { return error_of(ErrorCode::bad_file, [&] { ScaleRules(text, "f"); }); };
  EXPECT_THAT(refusal("{"), HasSubstr("f: adapter metadata is not a JSON object"));
  EXPECT_THAT(refusal("[1]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(refusal(R"({"r": "4"})"), HasSubstr("'r' is not a finite number"));
  EXPECT_THAT(refusal(R"({"transformer.use_rslora": 1})"), HasSubstr("'transformer.use_rslora' is not true or false"));
  EXPECT_THAT(refusal(R"({"alpha_pattern": [1]})"), HasSubstr("'alpha_pattern' is not an object"));
  EXPECT_THAT(refusal(R"({"alpha_pattern": {"to_(q": 1}})"), HasSubstr("alpha_pattern: pattern 'to_(q': expected ')'"));
  EXPECT_THAT(refusal(R"({"rank_pattern": {"to_q": null}})"), HasSubstr("'to_q' is not a finite number"));
  EXPECT_TRUE(ScaleRules(R"({"transformer.use_dora": true})", "f").use_dora());
  EXPECT_FALSE(ScaleRules(R"({"transformer.use_dora": false})", "f").use_dora());
  std::string many = R"({"alpha_pattern": {)";
  for (int i = 0; i < 200; ++i) many += fmt::format("\"a+{}\": 1,", i);
  many += R"("b": 1}})";
  EXPECT_THAT(error_of(ErrorCode::unsupported, [&] { ScaleRules(many, "f"); }), HasSubstr("200 regular expressions"));
  const ScaleRules huge(R"({"lora_alpha": 1e200})", "f");
  EXPECT_THAT(error_of(ErrorCode::bad_file, [&] { huge.scale(Component::transformer, "x", 1); }), HasSubstr("f32"));
}

TEST(AdapterScale, AlphaKeysWinOverMetadata) {
  Scales files;
  AdapterFileBuilder builder;
  builder.pair(kModule, 4, 16, 16)
      .metadata("lora_adapter_metadata", R"({"transformer.r": 4, "transformer.lora_alpha": 8})");
  EXPECT_EQ(files.scale(builder), 2.0f);
  const AdapterFile file = files.read(builder.alpha(kModule, 1));
  EXPECT_EQ(file.modules.at(0).scale, 0.25f);
  EXPECT_THAT(file.report.warnings, ElementsAre(HasSubstr("both")));
}

TEST(AdapterScale, ComesFromTheFileBesideAPeftAdapter) {
  Scales files;
  AdapterFileBuilder builder;
  builder.pair("base_model.model.transformer_blocks.0.attn.to_q", 4, 16, 16);
  EXPECT_THAT(files.read(builder).report.warnings, ElementsAre(HasSubstr("adapter_config.json")));
  std::ofstream(files.folder / "adapter_config.json") << R"({"r": 4, "lora_alpha": 2})";
  const AdapterFile file = files.read(builder);
  EXPECT_EQ(file.modules.at(0).scale, 0.5f);
  EXPECT_THAT(file.report.warnings, IsEmpty());
}

// The expected values are those of Python's re.match(rf"(.*\.)?({pattern})$", name).
TEST(ModulePattern, MatchesAsPeftDoes) {
  struct Case {
    const char* pattern;
    const char* name;
    bool matches;
  };
  for (const auto& [pattern, name, matches] : std::vector<Case>{
           {"proj_out", "proj_out", true},
           {"proj_out", "single_transformer_blocks.3.proj_out", true},
           {"^proj_out", "single_transformer_blocks.3.proj_out", false},
           {"^proj_out", "proj_out", true},
           {"q_proj", "add_q_proj", false},
           {"norm1", "transformer_blocks.0.norm1.linear", false},
           {"blocks.0.a", "blocksX0.a", true},
           {"blocks\\.0.a", "blocksX0.a", false},
           {"to_[qk]", "x.to_k", true},
           {"to_[qk]", "x.to_v", false},
           {"to_[^qk]", "x.to_v", true},
           {"to_[a-p]", "to_q", false},
           {"to_[a-q]", "to_q", true},
           {"to_[]q]", "to_]", true},
           {"to_[q-]", "to_-", true},
           {"[\\d]+", "12", true},
           {"(to_q|to_k)", "attn.to_k", true},
           {"to_q|to_k", "attn.to_k", true},
           {"to_(?:q|k|)", "to_", true},
           {".*\\.[0-4]\\.attn.*", "transformer_blocks.3.attn.to_q", true},
           {".*\\.[0-4]\\.attn.*", "transformer_blocks.5.attn.to_q", false},
           {"blocks.\\d+.to_q$", "x.blocks.12.to_q", true},
           {"blocks.\\d+?.to_q", "x.blocks.12.to_q", true},
           {"blocks.\\d?", "blocks.", true},
           {"\\w+", "a_b9", true},
           {"a\\sb", "a b", true},
           {"", "", true},
           {"", "x.", true},
           {"", "x", false},
           {"(a*)*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false},
           {"(x+x+)+y", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", false},
       }) {
    EXPECT_EQ(ModulePattern(pattern).matches(name), matches) << pattern << " on " << name;
  }
}

TEST(ModulePattern, RefusesWhatItDoesNotUnderstand) {
  const auto bad = [](const std::string& text) { return error_of(ErrorCode::bad_file, [&] { ModulePattern{text}; }); };
  const auto beyond = [](const std::string& text) {
    return error_of(ErrorCode::unsupported, [&] { ModulePattern{text}; });
  };
  EXPECT_THAT(bad("a)"), HasSubstr("opening bracket"));
  EXPECT_THAT(bad("(a"), HasSubstr("')'"));
  EXPECT_THAT(bad("[a"), HasSubstr("']'"));
  EXPECT_THAT(bad("[z-a]"), HasSubstr("rising range"));
  EXPECT_THAT(bad("*a"), HasSubstr("something to repeat"));
  EXPECT_THAT(bad("a\\"), HasSubstr("after '\\'"));
  EXPECT_THAT(bad(std::string(301, 'a')), HasSubstr("301"));
  EXPECT_THAT(beyond("a{2}"), HasSubstr("counted repetition"));
  EXPECT_THAT(beyond("a**"), HasSubstr("doubled repetition"));
  EXPECT_THAT(beyond("(?=a)"), HasSubstr("group other than"));
  EXPECT_THAT(beyond("\\b"), HasSubstr("'\\b'"));
  EXPECT_THAT(beyond(std::string(60, '(')), HasSubstr("nesting"));
}

}  // namespace
}  // namespace fx::test
