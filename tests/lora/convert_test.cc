// Writing adapters: what comes back is the same canonical adapter.
#include "lora/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lora/adapter_file.h"
#include "lora/read.h"
#include "lora/tiny_model.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/temp_folder.h"

namespace fx::test {
namespace {

using ::testing::HasSubstr;

class ConvertAdapter : public ::testing::Test {
 protected:
  Adapter read(AdapterFileBuilder builder, const std::string& name = "in.safetensors") {
    return read_adapter(builder.write(folder_ / name), model_.target);
  }
  Adapter round_trip(const Adapter& adapter, DType dtype = DType::f32) {
    write_diffusers_adapter(folder_ / "out.safetensors", adapter, model_.target, dtype);
    return read_adapter(folder_ / "out.safetensors", model_.target);
  }
  using ByPlace = std::map<std::tuple<Component, std::string, int64_t>, Patch>;
  static ByPlace by_place(const Adapter& adapter) {
    ByPlace patches;
    for (const Patch& patch : adapter.patches) patches[{patch.component, patch.module, patch.rows.begin}] = patch;
    return patches;
  }
  std::vector<float> run_with(const Adapter& adapter) {
    return model_.run_with({{std::make_shared<Adapter>(adapter), 0.75f}});
  }

  TempFolder folder_;
  TinyModel model_;
};

TEST_F(ConvertAdapter, GivesTheSamePatchesWithTheScaleFoldedIn) {
  const Adapter before = read(adapter_for(model_.target, "a", 3).metadata("trigger_words", "zorb"));
  const Adapter after = round_trip(before);
  EXPECT_EQ(after.report.metadata.at("trigger_words"), "zorb");
  ASSERT_EQ(after.patches.size(), before.patches.size());
  ByPlace found = by_place(after);
  for (const auto& [place, patch] : by_place(before)) {
    const Patch& other = found.at(place);
    EXPECT_EQ(other.rows, patch.rows);
    EXPECT_EQ(other.a.values(), patch.a.values()) << patch.module;
    EXPECT_EQ(other.scale, 1.0f);
    std::vector<float> folded = patch.b.values();
    for (float& value : folded) value *= patch.scale;
    EXPECT_EQ(other.b.values(), folded) << patch.module;
  }
  const Adapter again = round_trip(after);
  EXPECT_EQ(run_with(again), run_with(after));
}

TEST_F(ConvertAdapter, SplitsFusedLayersAndActsTheSame) {
  AdapterFileBuilder builder;
  builder.pair("double_blocks.0.img_attn.qkv", 3, 16, 48).alpha("double_blocks.0.img_attn.qkv", 2);
  builder.pair("single_blocks.1.linear1", 2, 16, 112).pair("final_layer.adaLN_modulation.1", 2, 16, 32);
  builder.pair("img_in", 4, 8, 16);
  const Adapter before = read(builder);
  const auto modules = to_diffusers(before, model_.target);
  EXPECT_EQ(modules.size(), 3u + 4u + 1u + 1u);
  EXPECT_EQ(modules.at("transformer.single_transformer_blocks.1.proj_mlp").out, 64);
  EXPECT_EQ(modules.at("transformer.transformer_blocks.0.attn.to_v").rank, 3);
  const Adapter after = round_trip(before);
  for (const std::string& key : after.report.matched) EXPECT_EQ(key.find("_blocks.0.img_"), std::string::npos);
  EXPECT_LT(relative_error(run_with(after), run_with(before)), 1e-5);
  EXPECT_NE(run_with(after), model_.run_with({}));
}

// Other formats have slices that are no diffusers module: q, k and v without the MLP, or two pairs for one module.
TEST_F(ConvertAdapter, StacksWhatSharesAModule) {
  Adapter before;
  Rng rng(3);
  for (const auto& [rows, rank] : std::vector<std::pair<RowRange, int64_t>>{{{0, 24}, 2}, {{24, 60}, 3}}) {
    std::vector<float> a(static_cast<size_t>(rank * 16)), b(static_cast<size_t>(rank * rows.count));
    rng.fill_normal(a, 0.3f);
    rng.fill_normal(b, 0.3f);
    before.patches.push_back({LowRank{Matrix::of(rank, 16, a), Matrix::of(rows.count, rank, b)}, Component::transformer,
                              "single_blocks.0.linear1", rows, 0.5f});
  }
  const auto modules = to_diffusers(before, model_.target);
  EXPECT_EQ(modules.at("transformer.single_transformer_blocks.0.attn.to_q").rank, 2);
  EXPECT_EQ(modules.at("transformer.single_transformer_blocks.0.attn.to_k").rank, 5);
  EXPECT_LT(relative_error(run_with(round_trip(before)), run_with(before)), 1e-5);
}

TEST_F(ConvertAdapter, WritesHalfPrecision) {
  const Adapter before = read(adapter_for(model_.target, "a"));
  for (const DType dtype : {DType::f16, DType::bf16}) {
    const Adapter after = round_trip(before, dtype);
    EXPECT_EQ(after.report.dtypes, (std::vector<std::string>{std::string(name(dtype))}));
    EXPECT_LT(relative_error(run_with(after), run_with(before)), 0.02);
  }
}

TEST_F(ConvertAdapter, DropsMetadataThatStateAScale) {
  AdapterFileBuilder builder;
  builder.pair("transformer.x_embedder", 2, 8, 16);
  builder.metadata("lora_adapter_metadata", R"({"transformer.r": 2, "transformer.lora_alpha": 6})");
  const Adapter before = read(builder);
  EXPECT_EQ(before.patches.at(0).scale, 3.0f);
  const Adapter after = round_trip(before);
  EXPECT_EQ(after.report.metadata.count("lora_adapter_metadata"), 0u);
  EXPECT_EQ(after.patches.at(0).scale, 1.0f);
  EXPECT_LT(relative_error(run_with(after), run_with(before)), 1e-5);
}

TEST_F(ConvertAdapter, RefusesAnAdapterOfAnotherModel) {
  Adapter foreign = read(adapter_for(model_.target, "a"));
  foreign.patches.at(0).module = "elsewhere";
  EXPECT_THAT(error_of(ErrorCode::invalid_argument, [&] { to_diffusers(foreign, model_.target); }),
              HasSubstr("elsewhere"));
  error_of(ErrorCode::device, [&] {
    write_diffusers_adapter(folder_ / "no" / "such" / "place.safetensors", read(adapter_for(model_.target, "a")),
                            model_.target);
  });
}

}  // namespace
}  // namespace fx::test
