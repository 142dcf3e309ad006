// What files mean: every spelling of the same adapter gives the same patches.
#include "lora/file/read.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "io/sha256.h"
#include "lora/adapter_file.h"
#include "lora/tiny_model.h"
#include "support/expect_error.h"
#include "support/temp_folder.h"

namespace fx::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr const char* kToOut = "transformer_blocks.0.attn.to_out.0";

class ReadAdapter : public ::testing::Test {
 protected:
  Adapter read(AdapterFileBuilder& builder) {
    return read_adapter(builder.write(folder_ / "a.safetensors"), model_.target);
  }
  // One pair of rank 2 for a (16, 16) layer, under the two keys.
  AdapterFileBuilder two_keys(const std::string& down, const std::string& up) {
    AdapterFileBuilder builder;
    return builder.random(down, {2, 16}, "A").random(up, {16, 2}, "B");
  }
  std::vector<float> values(const std::string& seed, int64_t count) {
    std::vector<float> result(static_cast<size_t>(count));
    Rng(seed).fill_normal(result, 0.3f);
    return result;
  }

  TempFolder folder_;
  TinyModel model_;
};

TEST_F(ReadAdapter, UnderstandsEverySpelling) {
  const std::string m = kToOut;
  const std::vector<std::pair<std::string, std::string>> spellings = {
      {"transformer." + m + ".lora_A.weight", "transformer." + m + ".lora_B.weight"},
      {m + ".lora_A.weight", m + ".lora_B.weight"},
      {"base_model.model." + m + ".lora_A.weight", "base_model.model." + m + ".lora_B.weight"},
      {"transformer.base_model.model." + m + ".lora_A.weight", "transformer.base_model.model." + m + ".lora_B.weight"},
      {"transformer." + m + ".lora_A.default_0.weight", "transformer." + m + ".lora_B.default_0.weight"},
      {"transformer." + m + ".lora.down.weight", "transformer." + m + ".lora.up.weight"},
      {"transformer." + m + ".lora_down.weight", "transformer." + m + ".lora_up.weight"},
      {"transformer." + m + ".lora_linear_layer.down.weight", "transformer." + m + ".lora_linear_layer.up.weight"},
      {m + ".lora_A", m + ".lora_B"},
      {"transformer.transformer_blocks.0.attn.processor.to_out_lora.down.weight",
       "transformer.transformer_blocks.0.attn.processor.to_out_lora.up.weight"},
      {"double_blocks.0.img_attn.proj.lora_A.weight", "double_blocks.0.img_attn.proj.lora_B.weight"},
      {"base_model.model.double_blocks.0.img_attn.proj.lora_A.weight",
       "transformer.double_blocks.0.img_attn.proj.lora_B.weight"},
  };
  for (const auto& [down, up] : spellings) {
    AdapterFileBuilder builder = two_keys(down, up);
    const Adapter adapter = read(builder);
    ASSERT_EQ(adapter.patches.size(), 1u) << down;
    const Patch& patch = adapter.patches[0];
    EXPECT_EQ(patch.module, "double_blocks.0.img_attn.proj") << down;
    EXPECT_EQ(patch.component, Component::transformer);
    EXPECT_EQ(patch.rows, (RowRange{0, 16}));
    EXPECT_EQ(patch.a.values(), values("A", 32)) << down;
    EXPECT_EQ(patch.b.values(), values("B", 32)) << down;
    EXPECT_EQ(patch.rank(), 2);
    EXPECT_EQ(patch.in(), 16);
    EXPECT_EQ(patch.scale, 1.0f);
    EXPECT_THAT(adapter.report.matched, ElementsAre(down, up));
  }
}

TEST_F(ReadAdapter, PlacesSlicesOfFusedLayers) {
  AdapterFileBuilder builder;
  builder.pair("transformer.transformer_blocks.1.attn.to_k", 3, 16, 16);
  builder.pair("transformer.single_transformer_blocks.0.proj_mlp", 1, 16, 64);
  builder.pair("transformer.transformer_blocks.1.attn.add_v_proj", 2, 16, 16);
  std::map<std::string, Patch> patches;
  for (const Patch& patch : read(builder).patches) patches[patch.module] = patch;
  EXPECT_EQ(patches.at("double_blocks.1.img_attn.qkv").rows, (RowRange{16, 16}));
  EXPECT_EQ(patches.at("double_blocks.1.txt_attn.qkv").rows, (RowRange{32, 16}));
  EXPECT_EQ(patches.at("single_blocks.0.linear1").rows, (RowRange{48, 64}));

  AdapterFileBuilder fused;
  fused.pair("double_blocks.1.img_attn.qkv", 3, 16, 48);
  EXPECT_EQ(read(fused).patches.at(0).rows, (RowRange{0, 48}));
}

TEST_F(ReadAdapter, ExchangesTheHalvesOfTheFinalModulationForDiffusersNamesOnly) {
  AdapterFileBuilder diffusers, original;
  diffusers.random("transformer.norm_out.linear.lora_A.weight", {1, 16}, "A");
  diffusers.random("transformer.norm_out.linear.lora_B.weight", {32, 1}, "B");
  original.random("final_layer.adaLN_modulation.1.lora_A.weight", {1, 16}, "A");
  original.random("final_layer.adaLN_modulation.1.lora_B.weight", {32, 1}, "B");
  std::vector<float> expected = values("B", 32);
  EXPECT_EQ(read(original).patches.at(0).b.values(), expected);
  std::rotate(expected.begin(), expected.begin() + 16, expected.end());
  const Patch patch = read(diffusers).patches.at(0);
  EXPECT_EQ(patch.b.values(), expected);
  EXPECT_EQ(patch.a.values(), values("A", 16));
  EXPECT_EQ(patch.module, "final_layer.adaLN_modulation.1");
}

TEST_F(ReadAdapter, FindsTextEncodersWithAndWithoutTheirInnerPrefix) {
  for (const std::string prefix : {"text_encoder.text_model.", "text_encoder.", "text_model.", ""}) {
    AdapterFileBuilder builder;
    builder.pair(prefix + "encoder.layers.1.mlp.fc1", 2, 10, 14);
    const Adapter adapter = read(builder);
    EXPECT_EQ(adapter.patches.at(0).component, Component::text_encoder) << prefix;
    EXPECT_EQ(adapter.patches.at(0).module, "text_model.encoder.layers.1.mlp.fc1") << prefix;
  }
  for (const std::string prefix : {"text_encoder_2.", "base_model.model.", "text_encoder_2.base_model.model.", ""}) {
    AdapterFileBuilder builder;
    builder.pair(prefix + "encoder.block.0.layer.1.DenseReluDense.wo", 2, 14, 12);
    const Adapter adapter = read(builder);
    EXPECT_EQ(adapter.patches.at(0).component, Component::text_encoder_2) << prefix;
    EXPECT_EQ(adapter.patches.at(0).module, "encoder.block.0.layer.1.DenseReluDense.wo") << prefix;
  }
}

TEST_F(ReadAdapter, ConvertsHalfPrecisionExactly) {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    AdapterFileBuilder builder(dtype);
    builder.random(kToOut + std::string(".lora_A.weight"), {2, 16}, "A")
        .add(kToOut + std::string(".lora_B.weight"), {16, 2}, std::vector<float>(32, 0.375f));
    const Adapter adapter = read(builder);
    EXPECT_EQ(adapter.patches.at(0).b.values(), std::vector<float>(32, 0.375f));
    EXPECT_THAT(adapter.report.dtypes, ElementsAre(name(dtype)));
  }
  AdapterFileBuilder wide = two_keys("transformer.x", "transformer.y");
  const double value = 0.25;
  std::vector<std::byte> bytes;
  for (int i = 0; i < 16; ++i) {
    const auto* begin = reinterpret_cast<const std::byte*>(&value);
    bytes.insert(bytes.end(), begin, begin + sizeof(value));
  }
  AdapterFileBuilder doubles, eighths;
  doubles.add_raw(kToOut + std::string(".lora_A.weight"), DType::f64, {1, 16}, bytes);
  doubles.add_raw(kToOut + std::string(".lora_B.weight"), DType::f64, {16, 1}, bytes);
  EXPECT_EQ(read(doubles).patches.at(0).a.values(), std::vector<float>(16, 0.25f));
  const std::vector<std::byte> ones(16, std::byte{0x38});  // 1 in e4m3
  eighths.add_raw(kToOut + std::string(".lora_A.weight"), DType::f8_e4m3, {1, 16}, ones);
  eighths.add_raw(kToOut + std::string(".lora_B.weight"), DType::f8_e4m3, {16, 1}, ones);
  EXPECT_EQ(read(eighths).patches.at(0).a.values(), std::vector<float>(16, 1.0f));
}

TEST_F(ReadAdapter, TakesConvolutionsOfSizeOneAsMatrices) {
  AdapterFileBuilder builder;
  builder.random(kToOut + std::string(".lora_A.weight"), {2, 16, 1, 1}, "A");
  builder.random(kToOut + std::string(".lora_B.weight"), {16, 2, 1, 1}, "B");
  EXPECT_EQ(read(builder).patches.at(0).b.values(), values("B", 32));
}

TEST_F(ReadAdapter, ReportsWhatItFound) {
  AdapterFileBuilder builder;
  builder.pair("transformer.transformer_blocks.0.attn.to_q", 2, 16, 16)
      .alpha("transformer.transformer_blocks.0.attn.to_q", 1);
  builder.pair("transformer.transformer_blocks.1.attn.to_q", 6, 16, 16);
  builder.pair("text_encoder.text_model.encoder.layers.0.mlp.fc1", 2, 10, 14);
  builder.pair("transformer.no_such.layer", 2, 16, 16);
  builder.alpha("transformer.alone", 1);
  builder.add("transformer.transformer_blocks.0.extra", {2}, {1, 2});
  builder.add("bundle_emb.word.clip_l", {2}, {1, 2});
  builder.pair("text_encoder.text_projection", 2, 10, 10);
  builder.metadata("modelspec.trigger_phrase", "zorb, in style  ")
      .metadata("modelspec.architecture", "Flux-1-dev/lora");
  const Adapter adapter = read(builder);
  const AdapterReport& report = adapter.report;
  EXPECT_EQ(adapter.name, "a");
  EXPECT_EQ(adapter.hash.sha256(), sha256_file(adapter.path));
  EXPECT_EQ(adapter.hash.autov2(), adapter.hash.sha256().substr(0, 10));
  EXPECT_EQ(adapter.hash.autov3().size(), 12u);
  EXPECT_NE(adapter.hash.autov3(), adapter.hash.sha256().substr(0, 12));
  EXPECT_EQ(adapter.patches.size(), 3u);
  EXPECT_EQ(adapter.bytes(), (64 + 192 + 48) * sizeof(float));
  EXPECT_EQ(report.format, "PEFT/diffusers");
  EXPECT_EQ(report.matched.size(), 7u);
  EXPECT_THAT(report.unmatched,
              UnorderedElementsAre("transformer.no_such.layer.lora_A.weight", "transformer.no_such.layer.lora_B.weight",
                                   "transformer.alone.alpha", "transformer.transformer_blocks.0.extra"));
  EXPECT_EQ(report.ignored.size(), 3u);
  EXPECT_THAT(report.warnings, ElementsAre(HasSubstr("text projection"), HasSubstr("embedding")));
  EXPECT_EQ(report.family, "FLUX.1");
  EXPECT_THAT(report.alphas, UnorderedElementsAre(Pair(1.0, 1)));
  EXPECT_EQ(report.without_alpha, 2u);
  EXPECT_THAT(report.formats, UnorderedElementsAre(Pair("PEFT/diffusers", 7)));
  EXPECT_THAT(error_of(ErrorCode::bad_file, [&] { require_complete(adapter.report, adapter.path); }),
              AllOf(HasSubstr("4 of its keys match nothing"), HasSubstr("transformer.alone.alpha"),
                    HasSubstr("no_such.layer.lora_A"), HasSubstr("blocks.0.extra")));
  EXPECT_THAT(report.ranks, UnorderedElementsAre(Pair(2, 2), Pair(6, 1)));
  EXPECT_EQ(report.rank_summary(), "2 to 6");
  EXPECT_EQ(report.targets.at("transformer.transformer_blocks.*.attn.to_q"), 2u);
  EXPECT_THAT(report.trigger_words, ElementsAre("zorb", "in style"));
  EXPECT_GT(report.bytes, 100u);
  EXPECT_GE(report.load_seconds, 0);
  EXPECT_EQ(AdapterReport().rank_summary(), "none");
}

TEST_F(ReadAdapter, WarnsWhenTheMetadataNameAnotherModel) {
  AdapterFileBuilder chroma = two_keys(kToOut + std::string(".lora_A.weight"), kToOut + std::string(".lora_B.weight"));
  chroma.metadata("modelspec.architecture", "chroma/lora");
  EXPECT_THAT(read(chroma).report.warnings, ElementsAre(HasSubstr("chroma/lora")));
  chroma.metadata("modelspec.architecture", "flux-1-dev/lora").metadata("ss_base_model_version", "flux1");
  EXPECT_THAT(read(chroma).report.warnings, IsEmpty());
}

TEST_F(ReadAdapter, TellsTrainerAndTriggerWords) {
  const std::string down = kToOut + std::string(".lora_A.weight"), up = kToOut + std::string(".lora_B.weight");
  const std::vector<std::tuple<std::string, std::string, std::string>> trainers = {
      {"software", R"({"name": "ai-toolkit"})", "ai-toolkit"},
      {"ot_branch", "master", "OneTrainer"},
      {"ss_network_module", "networks.lora_flux", "kohya sd-scripts"},
      {"ss_network_module", "lycoris.kohya", "kohya sd-scripts with LyCORIS"},
      {"lora_adapter_metadata", "{}", "diffusers/PEFT"},
      {"format", "pt", ""}};
  for (const auto& [field, value, trainer] : trainers) {
    AdapterFileBuilder builder = two_keys(down, up);
    EXPECT_EQ(read(builder.metadata(field, value)).report.trainer, trainer) << field;
  }
  AdapterFileBuilder tags = two_keys(down, up);
  tags.metadata("ss_tag_frequency", R"({"10_a": {"zorb": 9, "cat": 2}, "5_b": {"zorb": 3, "a hat": 11}, "c": [1]})");
  EXPECT_THAT(read(tags).report.trigger_words, ElementsAre("zorb", "a hat"));
  AdapterFileBuilder odd = two_keys(down, up);
  EXPECT_THAT(read(odd.metadata("ss_tag_frequency", "{")).report.trigger_words, IsEmpty());
}

TEST_F(ReadAdapter, NotesThatOnlyTextEncodersChange) {
  AdapterFileBuilder builder;
  builder.pair("lora_te1_text_model_encoder_layers_0_mlp_fc1", 2, 10, 14);
  const Adapter adapter = read(builder);
  EXPECT_EQ(adapter.patches.size(), 1u);
  EXPECT_THAT(adapter.report.warnings, ElementsAre(HasSubstr("text encoders only")));
  EXPECT_THAT(adapter.report.family, HasSubstr("text encoders only"));
  EXPECT_EQ(adapter.report.format, "kohya");
}

TEST_F(ReadAdapter, WarnsOfBlocksBeyondFluxWhileNoModelIsKnown) {
  AdapterFileBuilder builder;
  builder.pair("diffusion_model.double_blocks.19.img_attn.qkv", 1, 3072, 9216);
  const AdapterFile file = read_adapter_file(builder.write(folder_ / "a.safetensors"));
  EXPECT_THAT(file.report.warnings, ElementsAre(HasSubstr("HunyuanVideo")));
  EXPECT_EQ(file.report.family, "HunyuanVideo");
  AdapterFileBuilder wide;
  wide.pair("diffusion_model.double_blocks.0.img_attn.qkv", 1, 6144, 18432);
  const AdapterReport report = read_adapter_file(wide.write(folder_ / "b.safetensors")).report;
  EXPECT_THAT(report.warnings, ElementsAre(HasSubstr("sizes are those of FLUX.2")));
  EXPECT_EQ(report.family, "FLUX.2");
}

TEST_F(ReadAdapter, WarnsOfControlImagesWhileNoModelIsKnown) {
  AdapterFileBuilder builder;
  builder.pair("img_in", 1, 128, 3072);
  const AdapterFile file = read_adapter_file(builder.write(folder_ / "a.safetensors"));
  EXPECT_THAT(file.report.warnings, ElementsAre(HasSubstr("control images (Canny, Depth): the last 64 of the 128")));
}

TEST_F(ReadAdapter, CountsWhatCannotStayLowRank) {
  AdapterFileBuilder builder = two_keys(kToOut + std::string(".lora_A.weight"), kToOut + std::string(".lora_B.weight"));
  builder.random("transformer_blocks.0.attn.to_k.lokr_w1", {4, 4}, "w")
      .random("transformer_blocks.0.attn.to_k.lokr_w2", {4, 4}, "w");
  builder.random("transformer_blocks.0.attn.to_k.diff_b", {16}, "b");
  builder.add("transformer_blocks.0.attn.to_v.diff_b", {16}, std::vector<float>(16, 0));
  const Adapter adapter = read(builder);
  EXPECT_EQ(adapter.patches.size(), 1u);
  ASSERT_EQ(adapter.dense.size(), 2u) << "a difference of zeros changes nothing";
  EXPECT_EQ(adapter.dense[0].rows, (RowRange{16, 16}));
  EXPECT_EQ(adapter.report.matched.size(), 6u);
  EXPECT_EQ(adapter.report.dense.at("LoKr").bytes, 16 * 16 * sizeof(float));
  EXPECT_EQ(adapter.report.dense.at("bias").parameters, 1u);
  EXPECT_EQ(adapter.report.format, "PEFT/diffusers (LoKr)");
}

// An alpha of two whole factors divides nothing, so it may be anything; any other must be finite.
TEST_F(ReadAdapter, DoesNotMindAnInfiniteAlphaThatIsNotUsed) {
  const std::string module = "lora_unet_double_blocks_0_img_attn_proj";
  AdapterFileBuilder builder(DType::f16);
  builder.random(module + ".lokr_w1", {4, 4}, "1").random(module + ".lokr_w2", {4, 4}, "2");
  builder.alpha(module, std::numeric_limits<float>::infinity());
  const Adapter adapter = read(builder);
  EXPECT_EQ(adapter.dense.at(0).scale, 1.0f);
  EXPECT_THAT(adapter.report.warnings, IsEmpty());
  builder.metadata("ss_network_dim", "32").metadata("ss_network_alpha", "1.0");
  EXPECT_THAT(read(builder).report.warnings, ElementsAre(HasSubstr("dim 32 and alpha 1")));
}

// A model of control images has more inputs; to those an adapter of the others adds nothing.
TEST_F(ReadAdapter, PadsTheImageInputOfWiderModels) {
  AdapterFileBuilder builder;
  builder.random("x_embedder.lora_A.weight", {2, 5}, "A").random("x_embedder.lora_B.weight", {16, 2}, "B");
  const Patch patch = read(builder).patches.at(0);
  ASSERT_EQ(patch.in(), 8);
  const std::vector<float> narrow = values("A", 10), wide = patch.a.values();
  for (size_t i = 0; i < 16; ++i) EXPECT_EQ(wide[i], i % 8 < 5 ? narrow[i / 8 * 5 + i % 8] : 0.0f);
}

TEST_F(ReadAdapter, KeepsComponentsWithoutAModelOnRequest) {
  AdapterTarget transformer_only;
  transformer_only.add(Component::transformer, model_.flux_names, model_.flux_params);
  AdapterFileBuilder builder = two_keys(kToOut + std::string(".lora_A.weight"), kToOut + std::string(".lora_B.weight"));
  builder.pair("text_encoder.encoder.layers.7.mlp.fc1", 2, 20, 80);
  builder.random("text_encoder.encoder.layers.7.mlp.fc1.lora_B.bias", {80}, "b");
  AdapterFile file = read_adapter_file(builder.write(folder_ / "a.safetensors"));
  const Adapter adapter = resolve_adapter(std::move(file), transformer_only, AbsentComponents::kept);
  ASSERT_EQ(adapter.patches.size(), 2u);
  const auto text = std::ranges::find(adapter.patches, Component::text_encoder, &Patch::component);
  ASSERT_NE(text, adapter.patches.end());
  EXPECT_EQ(text->module, "text_model.encoder.layers.7.mlp.fc1");
  EXPECT_EQ(text->rows, (RowRange{0, 80}));
  EXPECT_EQ(adapter.dense.at(0).rows, (RowRange{0, 80}));
  EXPECT_THAT(adapter.report.unmatched, IsEmpty());
}

TEST_F(ReadAdapter, LeavesOutComponentsThatAreNotLoaded) {
  AdapterTarget transformer_only;
  transformer_only.add(Component::transformer, model_.flux_names, model_.flux_params);
  EXPECT_TRUE(transformer_only.has(Component::transformer));
  EXPECT_FALSE(transformer_only.has(Component::text_encoder));
  const auto path = adapter_for(model_.target, "x").write(folder_ / "a.safetensors");
  const Adapter adapter = read_adapter(path, transformer_only);
  EXPECT_TRUE(
      std::ranges::all_of(adapter.patches, [](const Patch& p) { return p.component == Component::transformer; }));
  EXPECT_TRUE(
      std::ranges::all_of(adapter.report.unmatched, [](const auto& k) { return k.starts_with("text_encoder"); }));
  EXPECT_FALSE(adapter.report.unmatched.empty());
}

TEST_F(ReadAdapter, ReadsTheGoldenAdaptersWithoutAModel) {
  const auto golden = std::filesystem::path(FLUXSWAP_SOURCE_DIR) / "tests" / "data" / "golden";
  int count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(golden)) {
    if (entry.path().parent_path().filename() != "loras") continue;
    const AdapterFile file = read_adapter_file(entry.path());
    EXPECT_GT(file.modules.size(), 5u) << entry.path();
    EXPECT_THAT(file.report.unmatched, IsEmpty()) << entry.path();
    EXPECT_THAT(file.report.matched, IsEmpty());
    ++count;
  }
  EXPECT_GE(count, 10);
}

}  // namespace
}  // namespace fx::test
