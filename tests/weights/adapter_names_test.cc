// The names of modules in adapter files, whatever the model.
#include "weights/adapter_names.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace fx {
namespace {

std::string underscored(std::string name) {
  std::ranges::replace(name, '.', '_');
  return name;
}

TEST(AdapterNames, AreFoundInEverySpelling) {
  for (const ModuleRule& rule : flux_modules()) {
    for (std::string_view source : {rule.canonical, rule.diffusers}) {
      std::string name(source), canonical(rule.canonical);
      for (std::string* text : {&name, &canonical}) {
        if (const size_t star = text->find('*'); star != std::string::npos) text->replace(star, 1, "17");
      }
      for (const std::string& spelling : {name, underscored(name)}) {
        const auto module = find_adapter_module(spelling);
        ASSERT_TRUE(module) << spelling;
        EXPECT_EQ(module->canonical, canonical);
        EXPECT_EQ(module->part, source == rule.diffusers ? rule.part : FusedPart::all) << spelling;
        EXPECT_EQ(module->exchange_halves, source == rule.diffusers && rule.exchange_halves) << spelling;
        EXPECT_EQ(module->block, canonical.find("17") == std::string::npos ? -1 : 17);
        EXPECT_FALSE(find_adapter_module(spelling, Component::text_encoder)) << spelling;
      }
    }
  }
}

TEST(AdapterNames, OfSlicesProcessorsAndNorms) {
  const auto v = find_adapter_module("double_blocks.3.txt_attn.qkv.2");
  ASSERT_TRUE(v);
  EXPECT_EQ(v->canonical, "double_blocks.3.txt_attn.qkv");
  EXPECT_EQ(v->part, FusedPart::v);
  EXPECT_EQ(v->system, NameSystem::slices);
  EXPECT_EQ(find_adapter_module("single_blocks.0.linear1.3")->part, FusedPart::mlp);
  EXPECT_EQ(find_adapter_module("double_blocks.3.img_mlp.2")->canonical, "double_blocks.3.img_mlp.2") << "a layer";
  EXPECT_EQ(find_adapter_module("single_blocks.9.processor.qkv")->part, FusedPart::qkv);
  EXPECT_EQ(find_adapter_module("transformer_blocks.0.attn.processor.to_out")->canonical,
            "double_blocks.0.img_attn.proj");
  const auto norm = find_adapter_module("single_transformer_blocks_5_attn_norm_q");
  ASSERT_TRUE(norm);
  EXPECT_EQ(norm->kind, ModuleKind::norm);
  EXPECT_EQ(norm->canonical + std::string(norm->weight), "single_blocks.5.norm.query_norm.scale");
}

TEST(AdapterNames, OfTextEncoders) {
  for (const char* name : {"text_model.encoder.layers.11.mlp.fc1", "encoder.layers.11.mlp.fc1",
                           "text_model_encoder_layers_11_mlp_fc1", "encoder_layers_11_mlp_fc1"}) {
    const auto module = find_adapter_module(name);
    ASSERT_TRUE(module) << name;
    EXPECT_EQ(module->component, Component::text_encoder);
    EXPECT_EQ(module->canonical, "text_model.encoder.layers.11.mlp.fc1");
  }
  EXPECT_EQ(find_adapter_module("encoder_block_23_layer_1_DenseReluDense_wi_0")->canonical,
            "encoder.block.23.layer.1.DenseReluDense.wi_0");
  EXPECT_EQ(find_adapter_module("text_projection")->kind, ModuleKind::unused);
}

TEST(AdapterNames, ThatAreUnknown) {
  for (const char* name : {"", "blocks.0.attn", "double_blocks.*.img_attn.qkv", "double_blocks.07.img_attn.qkv",
                           "double_blocks.1234567.img_attn.qkv", "double_blocks.-1.img_attn.qkv",
                           "double_blocks.0.img_attn.qkv.3", "transformer_blocks.0.attn.to_q.0", "img-in"}) {
    EXPECT_FALSE(find_adapter_module(name)) << name;
  }
}

TEST(FusedParts, AreRowsInTheOrderQkvMlp) {
  EXPECT_EQ(rows_of(FusedPart::k, 16, 112), (RowRange{16, 16}));
  EXPECT_EQ(rows_of(FusedPart::mlp, 16, 112), (RowRange{48, 64}));
  EXPECT_EQ(rows_of(FusedPart::qkv, 16, 112), (RowRange{0, 48}));
  EXPECT_TRUE(overlap(FusedPart::all, FusedPart::mlp));
  EXPECT_TRUE(overlap(FusedPart::qkv, FusedPart::v));
  EXPECT_FALSE(overlap(FusedPart::qkv, FusedPart::mlp));
  EXPECT_FALSE(overlap(FusedPart::q, FusedPart::k));
}

}  // namespace
}  // namespace fx
