// Writing adapters: what comes back is the same canonical adapter.
#include "lora/write/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/safetensors.h"
#include "lora/adapter_file.h"
#include "lora/file/read.h"
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

// A fused file that keeps q, k and v apart has zeros beside the diagonal; the canonical file has what was trained.
TEST_F(ConvertAdapter, LeavesOutWhatAddsNothing) {
  AdapterFileBuilder apart;
  apart.pair("transformer_blocks.0.attn.to_q", 2, 16, 16).pair("transformer_blocks.0.attn.to_v", 3, 16, 16);
  const Adapter slices = read(apart);
  const auto expected = to_diffusers(slices, model_.target);
  ASSERT_EQ(expected.size(), 2u);
  const DiffusersModule &q = expected.at("transformer.transformer_blocks.0.attn.to_q"),
                        &v = expected.at("transformer.transformer_blocks.0.attn.to_v");
  std::vector<float> a = q.a, b(48 * 5, 0.0f);
  a.insert(a.end(), v.a.begin(), v.a.end());
  for (size_t row = 0; row < 16; ++row) {
    std::copy_n(q.b.begin() + static_cast<ptrdiff_t>(row * 2), 2, b.begin() + static_cast<ptrdiff_t>(row * 5));
    std::copy_n(v.b.begin() + static_cast<ptrdiff_t>(row * 3), 3,
                b.begin() + static_cast<ptrdiff_t>((32 + row) * 5 + 2));
  }
  AdapterFileBuilder fused;
  fused.add("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", {5, 16}, a);
  fused.add("lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight", {48, 5}, b);
  const auto found = to_diffusers(read(fused), model_.target);
  ASSERT_EQ(found.size(), 2u);
  for (const auto& [name, module] : expected) {
    EXPECT_EQ(found.at(name).a, module.a) << name;
    EXPECT_EQ(found.at(name).b, module.b) << name;
  }
}

TEST_F(ConvertAdapter, AnAdapterOfZerosKeepsItsModules) {
  AdapterFileBuilder builder;
  builder.random("transformer.x_embedder.lora_A.weight", {2, 8}, "a");
  builder.add("transformer.x_embedder.lora_B.weight", {16, 2}, std::vector<float>(32, 0.0f));
  const auto modules = to_diffusers(read(builder), model_.target);
  ASSERT_EQ(modules.size(), 1u);
  EXPECT_EQ(modules.begin()->second.rank, 2);
}

TEST_F(ConvertAdapter, RefusesWhatIsNotLowRank) {
  AdapterFileBuilder builder;
  builder.pair("transformer.x_embedder", 2, 8, 16).random("transformer.proj_out.diff", {8, 16}, "d");
  const Adapter adapter = read(builder);
  EXPECT_THAT(error_of(ErrorCode::unsupported,
                       [&] { write_diffusers_adapter(folder_ / "out.safetensors", adapter, model_.target); }),
              HasSubstr("--dense"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out.safetensors"));
}

// The model's weights in files of its canonical names, as checkpoints of the original code have them.
class ConvertDense : public ConvertAdapter {
 protected:
  std::map<Component, BaseWeights> bases() {
    std::map<std::string, Tensor> tensors;
    for (const Param& param : model_.flux_params.params()) tensors.emplace(param.name, param.tensor);
    write_safetensors(folder_ / "base.safetensors", tensors);
    std::map<Component, BaseWeights> result;
    result.emplace(Component::transformer,
                   BaseWeights(open_safetensors(folder_ / "base.safetensors"), model_.flux_names));
    return result;
  }
  std::unique_ptr<TensorSource> convert(const Adapter& adapter) {
    write_parameter_deltas(folder_ / "dense.safetensors", adapter, model_.target, bases());
    return open_safetensors(folder_ / "dense.safetensors");
  }
  static std::vector<float> values(const TensorSource& source, const std::string& name) {
    const TensorInfo* info = source.find(name);
    if (!info) return {};
    std::vector<float> result(static_cast<size_t>(info->shape.count()));
    convert_to_f32(info->dtype, source.bytes(*info).data(), result.data(), result.size());
    return result;
  }
};

TEST_F(ConvertDense, WritesEachChangedParameterOnce) {
  AdapterFileBuilder builder;
  builder.pair("double_blocks.0.img_attn.qkv", 2, 16, 48);
  builder.random("diffusion_model.double_blocks.0.img_attn.qkv.diff_b", {48}, "b");
  builder.random("lycoris_single_transformer_blocks_0_proj_mlp.diff", {64, 16}, "m");
  builder.random("transformer.norm_out.linear.diff", {32, 16}, "n");
  builder.pair("text_encoder.text_model.encoder.layers.0.mlp.fc1", 2, 10, 14);
  const auto source = convert(read(builder));
  EXPECT_THAT(source->names(), ::testing::UnorderedElementsAre(
                                   "transformer_blocks.0.attn.to_q.weight", "transformer_blocks.0.attn.to_k.weight",
                                   "transformer_blocks.0.attn.to_v.weight", "transformer_blocks.0.attn.to_q.bias",
                                   "transformer_blocks.0.attn.to_k.bias", "transformer_blocks.0.attn.to_v.bias",
                                   "single_transformer_blocks.0.proj_mlp.weight", "norm_out.linear.weight",
                                   "text_encoder.text_model.encoder.layers.0.mlp.fc1.weight"));
  EXPECT_EQ(source->find("transformer_blocks.0.attn.to_k.bias")->shape, (Shape{16}));
  std::vector<float> expected(32 * 16);
  Rng("n").fill_normal(expected, 0.3f);
  EXPECT_EQ(values(*source, "norm_out.linear.weight"), expected);  // in diffusers' order of halves, as it came
}

TEST_F(ConvertDense, DoraIsRelativeToTheWeight) {
  const std::string module = "transformer.transformer_blocks.0.attn.to_out.0";
  AdapterFileBuilder builder;
  builder.pair(module, 2, 16, 16).add(module + ".lora_magnitude_vector", {16}, std::vector<float>(16, 2.0f));
  const auto delta = values(*convert(read(builder)), "transformer_blocks.0.attn.to_out.0.weight");
  ASSERT_EQ(delta.size(), 256u);
  const float* weight = model_.layer(Component::transformer, "double_blocks.0.img_attn.proj").weight->tensor.f32();
  for (size_t row = 0; row < 16; ++row) {  // every row of W + delta has the length 2
    double squared = 0;
    for (size_t i = 0; i < 16; ++i) squared += std::pow(double{delta[row * 16 + i]} + weight[row * 16 + i], 2);
    EXPECT_NEAR(squared, 4, 1e-5);
  }
}

TEST_F(ConvertDense, BaseWeightsAreReadInAnyNames) {
  const Tensor weight = model_.layer(Component::transformer, "double_blocks.0.img_attn.qkv").weight->tensor;
  const Tensor last = model_.layer(Component::transformer, "final_layer.adaLN_modulation.1").weight->tensor;
  std::map<std::string, Tensor> tensors = {{"transformer_blocks.0.attn.to_q.weight", weight.slice(0, 0, 16)},
                                           {"transformer_blocks.0.attn.to_k.weight", weight.slice(0, 16, 32)},
                                           {"norm_out.linear.weight", last}};
  write_safetensors(folder_ / "base.safetensors", tensors);
  const BaseWeights base(open_safetensors(folder_ / "base.safetensors"), model_.flux_names);
  const auto rows = base.rows("double_blocks.0.img_attn.qkv.weight", {10, 12});
  EXPECT_TRUE(std::equal(rows.begin(), rows.end(), weight.f32() + 160));
  const auto halves = base.rows("final_layer.adaLN_modulation.1.weight", {0, 32});
  EXPECT_TRUE(std::equal(halves.begin(), halves.begin() + 256, last.f32() + 256));
  EXPECT_TRUE(std::equal(halves.begin() + 256, halves.end(), last.f32()));
  EXPECT_THAT(error_of(ErrorCode::bad_file,
                       [&] {
                         base.rows("double_blocks.0.img_attn.qkv.weight", {20, 20});
                       }),
              HasSubstr("expected 20 rows of double_blocks.0.img_attn.qkv.weight from row 20 on, found 12"));
}

}  // namespace
}  // namespace fx::test
