// The name table: complete, exact and unambiguous.
#include "weights/name_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "models/flux/transformer.h"
#include "models/text/clip_text.h"

namespace fx {
namespace {

FluxConfig tiny() {
  FluxConfig config{.in_channels = 16, .out_channels = 16, .double_blocks = 2, .single_blocks = 3, .heads = 2, .head_dim = 8};
  config.context_dim = 12;
  config.vec_dim = 10;
  config.axes_dim = {4, 2, 2};
  return config;
}

FluxLayout layout_of(const FluxConfig& c) { return {c.double_blocks, c.single_blocks, c.hidden(), c.mlp_hidden()}; }

class NameMapTest : public ::testing::Test {
 protected:
  NameMapTest() : runtime_(make_host_runtime()), store_(*runtime_), flux_(store_, tiny()), map_(flux_name_map(layout_of(tiny()))) {}
  std::unique_ptr<Runtime> runtime_;
  ParamStore store_;
  Flux flux_;
  NameMap map_;
};

TEST_F(NameMapTest, DiffusersModulesTileEveryCanonicalModule) {
  std::map<std::string, std::vector<RowRange>> rows;
  for (const auto& [source, target] : map_.modules()) {
    if (source != target.name) rows[target.name].push_back(target.rows);
  }
  for (const LoraSlot& slot : store_.slots()) {
    auto& ranges = rows[slot.module];
    ASSERT_FALSE(ranges.empty()) << slot.module << " has no name in diffusers";
    if (ranges.size() == 1 && ranges[0].whole()) continue;
    std::ranges::sort(ranges, {}, &RowRange::begin);
    int64_t next = 0;
    for (const RowRange& range : ranges) {
      EXPECT_EQ(range.begin, next) << slot.module;
      next += range.count;
    }
    EXPECT_EQ(next, slot.out) << slot.module;
  }
}

TEST_F(NameMapTest, EveryTargetIsDeclaredAndEveryParameterIsNamed) {
  std::set<std::string> declared;
  for (const Param& param : store_.params()) {
    declared.insert(param.name);
    const auto target = map_.parameter(param.name);  // canonical names are accepted as they are
    ASSERT_TRUE(target) << param.name;
    EXPECT_EQ(target->name, param.name);
  }
  for (const auto& [source, target] : map_.modules()) EXPECT_TRUE(declared.contains(target.name + ".weight")) << source;
}

TEST_F(NameMapTest, KnownNames) {
  const auto k = map_.parameter("transformer_blocks.1.attn.to_k.bias");
  ASSERT_TRUE(k);
  EXPECT_EQ(k->name, "double_blocks.1.img_attn.qkv.bias");
  EXPECT_EQ(k->rows, (RowRange{16, 16}));
  EXPECT_EQ(map_.module("single_transformer_blocks.2.proj_mlp")->rows, (RowRange{48, 64}));
  EXPECT_TRUE(map_.module("norm_out.linear")->exchange_halves);
  EXPECT_EQ(map_.parameter("transformer_blocks.0.attn.norm_added_q.weight")->name,
            "double_blocks.0.txt_attn.norm.query_norm.scale");
  EXPECT_FALSE(map_.module("transformer_blocks.2.attn.to_k"));  // one block too many
  EXPECT_FALSE(map_.parameter("transformer_blocks.0.attn.to_k"));
  EXPECT_FALSE(map_.parameter("x_embedder.scale"));
}

TEST(TextNames, OptionalPrefixAndIgnoredTensors) {
  const auto runtime = make_host_runtime();
  ParamStore store(*runtime);
  const ClipText clip(store, {.vocab = 8, .hidden = 4, .mlp_hidden = 8, .layers = 1, .heads = 2, .max_positions = 5});
  std::vector<std::string> names;
  for (const Param& param : store.params()) names.push_back(param.name);
  const NameMap map = clip_name_map(names);
  EXPECT_EQ(map.module("encoder.layers.0.mlp.fc1")->name, "text_model.encoder.layers.0.mlp.fc1");
  EXPECT_EQ(map.module("text_model.encoder.layers.0.mlp.fc1")->name, "text_model.encoder.layers.0.mlp.fc1");
  EXPECT_TRUE(map.ignored("text_model.embeddings.position_ids"));
  EXPECT_FALSE(map.ignored("text_model.final_layer_norm.weight"));
  const NameMap decoder = vae_name_map({"decoder.conv_in.weight"});
  EXPECT_TRUE(decoder.ignored("encoder.conv_in.weight"));
  EXPECT_FALSE(decoder.ignored("decoder.conv_in.weight"));
}

}  // namespace
}  // namespace fx
