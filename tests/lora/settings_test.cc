// When and where an adapter acts: ranges of steps, block weights.
#include "lora/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "lora/apply/block_weights.h"
#include "lora/random_adapter.h"
#include "lora/tiny_model.h"
#include "ops/recording_ops.h"
#include "support/expect_error.h"

namespace fx::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using AdapterPtr = std::shared_ptr<const Adapter>;

TEST(StepRangeTest, IsAboutStepsOverTheirNumber) {
  const StepRange range{0.2, 0.6};
  std::vector<int> inside;
  for (int step = 0; step < 10; ++step) {
    if (range.contains(step, 10)) inside.push_back(step);
  }
  EXPECT_THAT(inside, ElementsAre(2, 3, 4, 5));
  EXPECT_FALSE(StepRange({0.0, 0.6}).contains(3, 5)) << "3 / 5 is 0.6";
  EXPECT_TRUE(StepRange({0.6, 1.0}).contains(3, 5));
  EXPECT_TRUE(StepRange({0.6, 1.0}).contains(4, 5)) << "the last step";
  EXPECT_TRUE(StepRange().whole());
  EXPECT_TRUE(StepRange({0.5, 0.5}).empty());
}

TEST(GlobTest, MatchesWholeNames) {
  EXPECT_TRUE(matches_glob("double_blocks.*", "double_blocks.3.img_attn.qkv"));
  EXPECT_TRUE(matches_glob("*attn*", "double_blocks.3.img_attn.qkv"));
  EXPECT_TRUE(matches_glob("*.?.*qkv", "double_blocks.3.img_attn.qkv"));
  EXPECT_TRUE(matches_glob("*a*b*c", "xaybzbzc"));
  EXPECT_TRUE(matches_glob("**", ""));
  EXPECT_FALSE(matches_glob("double_blocks", "double_blocks.3"));
  EXPECT_FALSE(matches_glob("*a*b*c", "xaybzbz"));
  EXPECT_FALSE(matches_glob("?", ""));
  EXPECT_FALSE(matches_glob("a.c", "abc")) << "a point is a point";
}

TEST(SettingsTest, RefusesWhatMakesNoSense) {
  const auto refused = [](const AdapterSettings& settings) {
    return error_of(ErrorCode::invalid_argument, [&] { validate(settings, "ink"); });
  };
  EXPECT_THAT(refused({.scale = std::numeric_limits<float>::infinity()}), HasSubstr("finite scale"));
  EXPECT_THAT(refused({.steps = {0.6, 0.5}}), HasSubstr("found 0.6 to 0.5"));
  EXPECT_THAT(refused({.steps = {-0.1, 0.5}}), HasSubstr("within 0 to 1"));
  EXPECT_THAT(refused({.steps = {0.0, std::numeric_limits<double>::quiet_NaN()}}), HasSubstr("within 0 to 1"));
  EXPECT_THAT(refused({.blocks = {{"", 1.0f}}}), HasSubstr("pattern"));
  EXPECT_THAT(refused({.blocks = {{"*", NAN}}}), HasSubstr("finite block weight"));
  EXPECT_THAT(refused({.merge = true, .beside = true}), HasSubstr("found both"));
}

class SettingsOnModel : public ::testing::Test {
 protected:
  AdapterPtr low_rank(const std::string& name) { return RandomAdapter(model_.target, name).low_rank(1.0f, 4).make(); }
  AdapterPtr mixed(const std::string& name) {
    return RandomAdapter(model_.target, name).low_rank(0.6f, 4).dense(0.3f).make();
  }
  TinyModel model_;
};

using BlockWeightsTest = SettingsOnModel;

TEST_F(BlockWeightsTest, DivideFusedModulesByTheNamesOfTheirParts) {
  const int64_t H = tiny_flux().hidden();
  const std::vector<BlockWeight> weights = {{"transformer_blocks.0.attn.to_k", 0.0f}, {"double_blocks.*", 0.5f}};
  BlockWeights blocks(weights, model_.target);
  const auto t = Component::transformer;
  EXPECT_THAT(blocks.divide(t, "double_blocks.0.img_attn.qkv", {0, 3 * H}),
              ElementsAre(WeightedRows{{0, H}, 0.5f}, WeightedRows{{H, H}, 0.0f}, WeightedRows{{2 * H, H}, 0.5f}));
  EXPECT_THAT(blocks.divide(t, "double_blocks.0.img_attn.qkv", {H, H}), ElementsAre(WeightedRows{{H, H}, 0.0f}));
  EXPECT_THAT(blocks.divide(t, "double_blocks.1.img_attn.qkv", {0, 3 * H}),
              ElementsAre(WeightedRows{{0, 3 * H}, 0.5f}));
  EXPECT_THAT(blocks.divide(t, "img_in", {0, H}), ElementsAre(WeightedRows{{0, H}, 1.0f}));
  EXPECT_THAT(blocks.divide(t, "double_blocks.0.img_attn.norm.query_norm", {0, 8}),
              ElementsAre(WeightedRows{{0, 8}, 0.5f}));
  const std::vector<BlockWeight> norms = {{"transformer_blocks.*.norm_q", 2.0f}, {"text_encoder.*", 3.0f}};
  BlockWeights others(norms, model_.target);
  EXPECT_THAT(others.divide(t, "double_blocks.0.img_attn.norm.query_norm", {0, 8}),
              ElementsAre(WeightedRows{{0, 8}, 2.0f}));
  const std::string clip = model_.clip_params.slots().front().module;
  EXPECT_THAT(others.divide(Component::text_encoder, clip, {0, 2}), ElementsAre(WeightedRows{{0, 2}, 3.0f}));
  const std::string t5 = model_.t5_params.slots().front().module;
  EXPECT_THAT(others.divide(Component::text_encoder_2, t5, {0, 2}), ElementsAre(WeightedRows{{0, 2}, 1.0f}));
}

// An adapter with a factor on some modules is the adapter with these modules' patches scaled.
TEST_F(BlockWeightsTest, ScaleThePatchesOfMatchingModules) {
  const AdapterPtr a = mixed("a");
  Adapter scaled = *a;
  for (Patch& patch : scaled.patches) {
    if (patch.module.starts_with("single_blocks.")) patch.scale *= 0.5f;
  }
  for (DensePatch& patch : scaled.dense) {
    if (patch.parameter.starts_with("single_blocks.") && !patch.magnitude) patch.scale *= 0.5f;
  }
  std::erase_if(scaled.dense, [](const DensePatch& patch) { return patch.magnitude.has_value(); });
  Adapter plain = *a;
  std::erase_if(plain.dense, [](const DensePatch& patch) { return patch.magnitude.has_value(); });
  const std::vector<float> expected = model_.run_with({{std::make_shared<Adapter>(scaled)}});
  EXPECT_EQ(model_.run_with({{std::make_shared<Adapter>(plain), {.blocks = {{"single_*", 0.5f}}}}}), expected);
  EXPECT_NE(model_.run_with({{std::make_shared<Adapter>(plain)}}), expected);
}

TEST_F(BlockWeightsTest, SwitchOffAPartOfAFusedModule) {
  const int64_t H = tiny_flux().hidden();
  Adapter whole{.name = "whole"}, without_k{.name = "without"};
  const AdapterPtr all = low_rank("a");
  for (const Patch& patch : all->patches) {
    if (patch.module != "double_blocks.0.img_attn.qkv") continue;
    Patch full = patch;
    full.rows = {0, 3 * H};
    const std::vector<float> b = patch.b.values();
    std::vector<float> rows;
    for (int64_t i = 0; i < 3 * H * patch.rank(); ++i) rows.push_back(b[static_cast<size_t>(i) % b.size()]);
    full.b = Matrix::of(3 * H, patch.rank(), rows);
    whole.patches.push_back(full);
    const std::vector<float> zeros(static_cast<size_t>(H * patch.rank()));
    std::ranges::copy(zeros, rows.begin() + H * patch.rank());
    full.b = Matrix::of(3 * H, patch.rank(), rows);
    without_k.patches.push_back(full);
  }
  ASSERT_EQ(whole.patches.size(), 1u);
  const AdapterPtr adapter = std::make_shared<Adapter>(whole);
  const std::vector<float> expected = model_.run_with({{std::make_shared<Adapter>(without_k)}});
  EXPECT_EQ(model_.run_with({{adapter, {.blocks = {{"*.attn.to_k", 0.0f}}}}}), expected);
  // Other factors are other scales: no matrix is written again, as long as the division stays.
  model_.swap->apply({{adapter, {.blocks = {{"*.attn.to_k", 0.5f}}}}});
  EXPECT_EQ(model_.swap->apply({{adapter, {.blocks = {{"*.attn.to_k", 0.0f}}}}}).slots_written, 0u);
  EXPECT_EQ(model_.run(), expected);
}

TEST_F(BlockWeightsTest, WithoutAModuleOfThatNameAreRefused) {
  EXPECT_THAT(error_of(ErrorCode::invalid_argument,
                       [&] {
                         model_.swap->stage({{mixed("a"), {.blocks = {{"down_blocks.*", 0.5f}}}}});
                       }),
              HasSubstr("'down_blocks.*' names no module"));
}

using StepRangesTest = SettingsOnModel;

TEST_F(StepRangesTest, ActFromTheirFirstStepToTheirLast) {
  const AdapterPtr early = mixed("early"), late = mixed("late"), always = mixed("always");
  const AppliedAdapter in_first{early, {.scale = 0.5f, .steps = {0.0, 0.5}}}, in_last{late, {.steps = {0.25, 1.0}}};
  // What acts on the text encoders acts throughout.
  const auto text_of = [](const AppliedAdapter& applied) {
    return AppliedAdapter{applied.adapter, {.scale = 0.0f, .text_encoder_scale = applied.settings.scale}};
  };
  const auto all_of = [](const AppliedAdapter& applied) {
    return AppliedAdapter{applied.adapter, {.scale = applied.settings.scale}};
  };
  const std::vector<float> first = model_.run_with({all_of(in_first), {always}, text_of(in_last)});
  const std::vector<float> both = model_.run_with({all_of(in_first), {always}, all_of(in_last)});
  const std::vector<float> last = model_.run_with({text_of(in_first), {always}, all_of(in_last)});

  EXPECT_EQ(model_.run_with({in_first, {always}, in_last}), both) << "before any step is entered";
  EXPECT_THAT(model_.swap->phases(8), ElementsAre(2, 4));
  EXPECT_THAT(model_.swap->phases(1), ElementsAre());
  const auto before = model_.swap->generation();
  const std::vector<const std::vector<float>*> expected = {&first, &first, &both, &both, &last, &last, &last, &last};
  for (int round = 0; round < 2; ++round) {
    for (int step = 0; step < 8; ++step) {
      const SwapReport report = model_.swap->enter_step(step, 8);
      EXPECT_EQ(report.slots_written, 0u) << "scales only";
      EXPECT_FALSE(report.text_encoders);
      EXPECT_EQ(report.transformer, step == 0 || step == 2 || step == 4) << step;
      EXPECT_EQ(model_.run(), *expected[static_cast<size_t>(step)]) << step;
    }
  }
  EXPECT_EQ(model_.swap->generation(), before) << "a recorded step stays valid";
}

TEST_F(StepRangesTest, EmptyOnesAreNoAdapterAtAll) {
  const std::vector<float> base = model_.run();
  EXPECT_EQ(model_.run_with({{mixed("a"), {.steps = {0.5, 0.5}}}}), base);
  EXPECT_THAT(model_.swap->phases(10), ElementsAre());
  model_.swap->enter_step(5, 10);
  EXPECT_EQ(model_.run(), base);
}

TEST_F(StepRangesTest, KeepTheTransformersPartBesideTheWeights) {
  const AdapterPtr a = low_rank("a");
  const SwapReport report = model_.swap->apply({{a, {.steps = {0.0, 0.5}, .merge = true}}});
  EXPECT_EQ(report.slots_written, model_.flux_params.slots().size());
  EXPECT_EQ(report.params_merged, model_.clip_params.slots().size() + model_.t5_params.slots().size());
  EXPECT_EQ(model_.swap->enter_step(7, 8).params_merged, 0u);
}

// The step that was recorded before a range ended is right after it.
TEST_F(StepRangesTest, RecordedStepsFollowThem) {
  model_.run_with({{low_rank("a"), {.steps = {0.0, 0.5}}}, {low_rank("b")}});
  model_.swap->enter_step(0, 2);
  model_.run();
  RecordingOps recorder(*model_.ops);
  recorder.start_recording();
  model_.flux.prepare(recorder, model_.activations);
  model_.flux.forward(recorder, model_.activations);
  recorder.stop_recording();
  for (const int step : {1, 0, 1}) {
    model_.swap->enter_step(step, 2);
    const std::vector<float> direct = model_.run();
    upload(*model_.ops, std::vector<float>(direct.size()), model_.activations.velocity);
    recorder.replay();
    EXPECT_EQ(download(*model_.ops, model_.activations.velocity), direct);
  }
}

}  // namespace
}  // namespace fx::test
