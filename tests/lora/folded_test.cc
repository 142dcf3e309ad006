// When adapters are laid into the fronts of weights, and which layers then take them from there. What a front has in it is
// for tests/parity.
#include <gtest/gtest.h>

#include <set>

#include "lora/random_adapter.h"
#include "lora/tiny_model.h"
#include "support/forwarding_ops.h"

namespace fx::test {
namespace {

// Folds nothing, and finds as much room as a test wants.
class FoldingOps final : public ForwardingOps {
 public:
  FoldingOps() : ForwardingOps(make_reference_ops()) {}
  bool computes_in(DType dtype) const override { return dtype == DType::bf16 || ForwardingOps::computes_in(dtype); }

  float room = 1.0f;
  int32_t reach = 16;
  std::multiset<const void*> folded, emptied;  // weights

 private:
  void do_fold_loras(const FoldLorasArgs& all) override {
    for (const FoldLoraArgs& args : all.layers) {
      (args.lora.defined() ? folded : emptied).insert(args.weight_front.raw());
      if (!args.lora.defined()) continue;
      *args.room.f32() = std::min(*args.room.f32(), room);
      *args.reach.i32() = std::max(*args.reach.i32(), reach);
    }
  }
};

class Folded : public ::testing::Test {
 protected:
  static ModelTypes types(int64_t ranks, bool masters = false) {
    return {.block_linear = DType::f8_e4m3, .masters = masters, .lora_ranks = ranks};
  }
  explicit Folded(const ModelTypes& types = Folded::types(16)) : model_(types, std::make_unique<FoldingOps>()) {}

  FoldingOps& ops() { return dynamic_cast<FoldingOps&>(*model_.ops); }
  std::shared_ptr<const Adapter> adapter(const std::string& name, float share = 0.5f) {
    return RandomAdapter(model_.target, name).low_rank(share).make();
  }
  size_t fronts() const {
    return std::ranges::count_if(model_.flux_params.params(), [](const Param& p) { return p.front.defined(); });
  }
  size_t in_front() const {
    return std::ranges::count_if(model_.flux_params.slots(), [](const LoraSlot& slot) { return slot.front_columns > 0; });
  }
  int64_t columns(const std::string& module) { return model_.layer(Component::transformer, module).front_columns; }
  // Layers with a front that an adapter reaches.
  size_t folded_by(const Adapter& adapter) {
    std::set<const LoraSlot*> layers;
    for (const Patch& patch : adapter.patches) {
      const LoraSlot& layer = model_.layer(patch.component, patch.module);
      if (layer.weight->front.defined()) layers.insert(&layer);
    }
    return layers.size();
  }

  TinyModel model_;
};

class FoldedWide : public Folded {
 protected:
  FoldedWide() : Folded(types(128)) {}
};

// In whole lines of the memory.
TEST_F(FoldedWide, EachPartOfALayerHasItsRoom) {
  const auto columns = [&](const std::string& module) {
    const Tensor& front = model_.layer(Component::transformer, module).weight->front;
    return front.defined() ? front.size(1) : 0;
  };
  EXPECT_EQ(columns("double_blocks.1.txt_attn.qkv"), 3 * 128);
  const Param& proj = *model_.layer(Component::transformer, "double_blocks.0.img_attn.proj").weight;
  EXPECT_EQ(proj.down.shape(), Shape({128, 16}));
  EXPECT_EQ(proj.column_scale.shape(), Shape({128}));
  EXPECT_EQ(columns("single_blocks.0.linear1"), 4 * 128);
  for (const char* module : {"img_attn.proj", "img_mlp.0", "txt_mlp.2"}) {
    EXPECT_EQ(columns(std::string("double_blocks.0.") + module), 128) << module;
  }
  EXPECT_EQ(columns("single_blocks.1.linear2"), 128);
  for (const char* module : {"img_in", "double_blocks.0.img_mod.lin", "single_blocks.0.modulation.lin"}) {
    EXPECT_EQ(columns(module), 0) << module;
  }
  const ScaledRows& normed = model_.activations.normed;
  EXPECT_EQ(normed.front.size(2), 512) << "the widest of what reads it";
  EXPECT_EQ(normed.values.raw(), normed.front.data<uint8_t>() + 512);
  const ScaledRows rows = normed.rows(1, 3);
  EXPECT_EQ(rows.values.raw(), rows.front.data<uint8_t>() + 512);
  const TinyModel masters(types(16, true), std::make_unique<FoldingOps>());
  for (const Param& param : masters.flux_params.params()) EXPECT_FALSE(param.front.defined()) << param.name;
}

TEST_F(Folded, FollowsEveryChange) {
  HotSwap& swap = *model_.swap;
  const auto a = adapter("a"), b = adapter("b");
  swap.reserve_rank(Component::transformer, 16);  // of layers without a front
  EXPECT_EQ(in_front(), 0u);
  const uint64_t without = model_.flux.step_signature();
  swap.apply({{a}});
  ASSERT_GT(folded_by(*a), 3u);
  EXPECT_EQ(ops().folded.size(), folded_by(*a));
  EXPECT_EQ(in_front(), fronts());
  const uint64_t signature = model_.flux.step_signature();
  EXPECT_NE(signature, without);
  for (const LoraSlot& slot : model_.flux_params.slots()) {
    EXPECT_FALSE(slot.front_columns > 0 && slot.operand.defined()) << slot.module << " needs no other memory";
  }
  ops().folded.clear();
  swap.apply({{a}});
  EXPECT_EQ(ops().folded.size(), 0u) << "nothing has changed";
  swap.set_scales({0.5f});
  EXPECT_EQ(ops().folded.size(), folded_by(*a)) << "other scales";
  ops().folded.clear();
  swap.apply({});
  EXPECT_EQ(ops().folded.size() + ops().emptied.size(), 0u) << "no adapter: fronts are not read";
  EXPECT_EQ(in_front(), 0u);
  EXPECT_EQ(model_.flux.step_signature(), without);
  swap.apply({{b}});
  EXPECT_EQ(ops().folded.size(), folded_by(*b));
  EXPECT_GT(ops().emptied.size(), 0u) << "what the first has left";
  EXPECT_EQ(model_.flux.step_signature(), signature);
}

// As many as the farthest reach asks for on any layer: a quarter, a half, all, or none.
TEST_F(FoldedWide, LayersTakeTheColumnsThatHaveAnEffect) {
  HotSwap& swap = *model_.swap;
  const auto a = adapter("a", 1.0f);
  const auto expect = [&](int32_t reach, int64_t linear1, int64_t qkv, int64_t proj) {
    ops().reach = reach;
    swap.apply({{a, {static_cast<float>(reach) + 1}}});
    EXPECT_EQ(columns("single_blocks.0.linear1"), linear1) << reach;
    EXPECT_EQ(columns("double_blocks.0.img_attn.qkv"), qkv) << reach;
    EXPECT_EQ(columns("double_blocks.1.txt_mlp.0"), proj) << reach;
    return model_.flux.step_signature();
  };
  const uint64_t quarter = expect(96, 128, 128, 128);
  EXPECT_EQ(expect(128, 128, 128, 128), quarter);
  EXPECT_NE(expect(0, 0, 0, 0), quarter) << "scales of zero, say";
  swap.apply({});
  EXPECT_EQ(in_front(), 0u);
  // One layer that reaches farther takes all others along.
  swap.apply({{a}});
  ops().reach = 200;
  swap.apply({{a}, {RandomAdapter(model_.target, "one").low_rank(0.05f).make()}});
  EXPECT_EQ(columns("single_blocks.0.linear1"), 256);
  EXPECT_EQ(columns("single_blocks.1.linear1"), 256);
}

// Each number of columns once, and back to what it was.
TEST_F(FoldedWide, OtherColumnsCanBeTried) {
  HotSwap& swap = *model_.swap;
  std::multiset<int64_t> seen;
  const auto look = [&] { seen.insert(columns("single_blocks.0.linear1")); };
  swap.with_other_arrangements(look);
  EXPECT_EQ(seen, (std::multiset<int64_t>{128, 256, 512}));
  EXPECT_EQ(in_front(), 0u);
  swap.apply({{adapter("a", 1.0f)}});
  seen.clear();
  swap.with_other_arrangements(look);
  EXPECT_EQ(seen, (std::multiset<int64_t>{0, 256, 512}));
  EXPECT_EQ(columns("single_blocks.0.linear1"), 128);
  EXPECT_THROW(swap.with_other_arrangements([] { throw std::runtime_error("so"); }), std::runtime_error);
  EXPECT_EQ(columns("single_blocks.0.linear1"), 128);
  // Without columns these layers would read slots now, of which nothing is known in advance.
  swap.apply({{adapter("a"), {.steps = {0.0, 0.5}}}});
  swap.apply({{adapter("a", 1.0f)}});
  seen.clear();
  swap.with_other_arrangements(look);
  EXPECT_EQ(seen, (std::multiset<int64_t>{256, 512}));
}

// Ranks of 8 at a time: seventeen adapters are too many for 128 columns.
TEST_F(Folded, WhatHasNoRoomStaysBesideTheWeight) {
  HotSwap& swap = *model_.swap;
  const auto a = adapter("a", 1.0f);
  const AdapterSet many(17, {a});
  swap.apply(many);
  EXPECT_EQ(in_front(), 0u);
  EXPECT_EQ(ops().folded.size(), 0u);
  EXPECT_TRUE(model_.layer(Component::transformer, "double_blocks.0.img_attn.proj").operand.defined());
  swap.apply({{a}});
  EXPECT_EQ(in_front(), fronts());
}

TEST_F(Folded, WhatIsTooStrongStaysBesideTheWeight) {
  HotSwap& swap = *model_.swap;
  const auto a = adapter("a");
  swap.apply({{a}});
  const uint64_t in_fronts = model_.flux.step_signature();
  ops().room = 0.9f;
  swap.apply({{a, {0.5f}}});
  EXPECT_EQ(in_front(), 0u);
  EXPECT_NE(model_.flux.step_signature(), in_fronts);
  EXPECT_EQ(swap.active(), (AdapterSet{{a, {0.5f}}}));
  ops().folded.clear();
  EXPECT_EQ(swap.apply({{a, {0.5f}}}).bytes, 0u) << "the same set need not be refused again";
  EXPECT_EQ(ops().folded.size(), 0u);
  ops().room = 1.0f;
  swap.apply({{a}});
  EXPECT_EQ(in_front(), fronts());
  EXPECT_EQ(model_.flux.step_signature(), in_fronts);
}

TEST_F(Folded, RangesOfStepsStayBesideTheWeight) {
  HotSwap& swap = *model_.swap;
  const auto a = adapter("a");
  swap.apply({{a, {.steps = {0.0, 0.5}}}});
  EXPECT_EQ(in_front(), 0u);
  EXPECT_EQ(ops().folded.size(), 0u);
  swap.enter_step(3, 4);
  EXPECT_EQ(in_front(), 0u);
}

}  // namespace
}  // namespace fx::test
