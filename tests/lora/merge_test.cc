// Adapters that are merged into parameters: exact while they act, and without a trace afterwards.
#include "lora/apply/merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <map>

#include "lora/patch_change.h"
#include "lora/random_adapter.h"
#include "lora/tiny_model.h"
#include "support/expect_error.h"
#include "support/forwarding_ops.h"
#include "support/golden.h"

namespace fx::test {
namespace {

using ::testing::HasSubstr;
using AdapterPtr = std::shared_ptr<const Adapter>;

class MergeTest : public ::testing::Test {
 protected:
  AdapterPtr low_rank(const std::string& name) { return RandomAdapter(model_.target, name).low_rank(1.0f, 4).make(); }
  AdapterPtr dense(const std::string& name) { return RandomAdapter(model_.target, name).dense(1.0f).make(); }
  AdapterPtr mixed(const std::string& name) {
    return RandomAdapter(model_.target, name).low_rank(0.5f, 4).dense(0.3f).make();
  }
  static AdapterPtr one(DensePatch patch) {
    Adapter adapter{.name = "one"};
    adapter.dense.push_back(std::move(patch));
    return std::make_shared<Adapter>(std::move(adapter));
  }
  // All parameters, one after the other.
  std::vector<float> weights() {
    std::vector<float> all;
    for (const AdapterTarget::Parameter& parameter : model_.target.parameters()) {
      const std::vector<float> values = download(*model_.ops, parameter.param->tensor);
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }
  std::vector<float> values(const std::string& parameter) {
    return download(*model_.ops, model_.target.find_parameter(Component::transformer, parameter)->tensor);
  }
  static AppliedAdapter merged(AdapterPtr adapter, float scale = 1.0f) {
    return {std::move(adapter), {.scale = scale, .merge = true}};
  }

  TinyModel model_;
};

TEST_F(MergeTest, AddsTheDifferencesToTheBase) {
  const AdapterPtr a = dense("a"), b = dense("b");
  std::map<std::string, std::vector<float>> base;
  for (const auto& [component, param, runtime, read_base] : model_.target.parameters())
    base[std::string(name(component)) + param->name] = download(*model_.ops, param->tensor);
  const SwapReport report = model_.swap->apply({{a, {0.5f}}, {b, {-1.0f, 2.0f}}});
  EXPECT_EQ(report.params_merged, model_.target.parameters().size());
  EXPECT_TRUE(report.transformer && report.text_encoders);
  for (const auto& [component, param, runtime, read_base] : model_.target.parameters()) {
    const int64_t in = param->tensor.rank() == 2 ? param->tensor.size(1) : 1;
    const std::vector<float>& old = base.at(std::string(name(component)) + param->name);
    std::vector<double> truth(old.begin(), old.end());
    const auto add = [&](const Adapter& adapter, float strength) {
      for (const DensePatch& patch : adapter.dense) {
        if (patch.component != component || patch.parameter != param->name) continue;
        const int64_t first = patch.rows.begin * in;
        const auto delta = effective_delta(patch, std::span(old).subspan(first, patch.rows.count * in), in, strength);
        for (size_t i = 0; i < delta.size(); ++i) truth[first + i] += delta[i];
      }
    };
    add(*a, 0.5f);
    add(*b, component == Component::transformer ? -1.0f : 2.0f);
    EXPECT_LT(relative_error(download(*model_.ops, param->tensor), {truth.begin(), truth.end()}), 1e-7) << param->name;
  }
}

TEST_F(MergeTest, LowRankDoesWhatItDoesBesideTheWeights) {
  const AdapterPtr a = low_rank("a"), b = low_rank("b");
  const std::vector<float> base = model_.run(), base_weights = weights();
  const std::vector<float> beside = model_.run_with({{a, {0.75f}}, {b, {-0.5f, 1.25f}}});
  EXPECT_EQ(weights(), base_weights);
  const SwapReport report =
      model_.swap->apply({merged(a, 0.75f), {b, {.scale = -0.5f, .text_encoder_scale = 1.25f, .merge = true}}});
  EXPECT_GT(report.slots_cleared, 0u);
  EXPECT_EQ(report.slots_written, 0u);
  for (const AdapterTarget::Slot& slot : model_.target.slots()) EXPECT_EQ(*slot.slot->operand.count.i32(), 0);
  EXPECT_LT(relative_error(minus(model_.run(), base), minus(beside, base)), 1e-5);
  EXPECT_NE(weights(), base_weights);
  EXPECT_EQ(model_.run_with({{a, {0.75f}}, {b, {-0.5f, 1.25f}}}), beside);
  EXPECT_EQ(weights(), base_weights) << "unmerged exactly";
}

TEST_F(MergeTest, TheSameSetGivesTheSameBytesWhateverCameBefore) {
  const AdapterPtr a = mixed("a"), b = mixed("b"), c = low_rank("c");
  const std::vector<AdapterSet> sets = {
      {}, {{a}}, {{b, {0.3f}}}, {{a}, {b, {0.3f}}}, {merged(c)}, {merged(c, 0.1f), {a}}, {{b, {0.3f}}, {a}}, {{c}}};
  std::vector<std::pair<std::vector<float>, std::vector<float>>> alone;  // outputs and weights
  for (const AdapterSet& set : sets) {
    TinyModel fresh;
    alone.emplace_back(fresh.run_with(set), std::vector<float>());
    model_.swap->apply({});
    model_.swap->apply(set);
    alone.back().second = weights();
  }
  Rng rng(5);
  for (int i = 0; i < 60; ++i) {
    const auto which = static_cast<size_t>(rng.below(static_cast<int64_t>(sets.size())));
    EXPECT_EQ(model_.run_with(sets[which]), alone[which].first) << "set " << which;
    EXPECT_EQ(weights(), alone[which].second);
  }
}

TEST_F(MergeTest, KeepsBaseValuesOfMergedParametersOnly) {
  EXPECT_EQ(model_.swap->memory().base_bytes, 0u);
  const AdapterPtr a = dense("a");
  model_.swap->apply({{a}});
  EXPECT_EQ(model_.swap->memory().base_bytes, weights().size() * sizeof(float));
  EXPECT_EQ(model_.swap->memory().slot_bytes, 0u);
  const SwapReport report = model_.swap->apply({});
  EXPECT_EQ(report.params_restored, model_.target.parameters().size());
  EXPECT_EQ(model_.swap->memory().base_bytes, 0u);
}

TEST_F(MergeTest, ScaleZeroIsNoAdapter) {
  const std::vector<float> base = model_.run();
  DensePatch norm{.parameter = "double_blocks.0.img_attn.norm.query_norm.scale", .rows = {0, 8}};
  norm.delta = FullDelta{Matrix::of(1, 8, std::vector<float>(8, 3.0f))};
  norm.replaces = true;
  EXPECT_EQ(model_.run_with({{dense("a"), {0.0f}}, merged(low_rank("b"), 0.0f), {one(norm), {0.0f}}}), base);
  EXPECT_EQ(model_.swap->memory().base_bytes, 0u);
}

TEST_F(MergeTest, ReplacementsAreExactAndComeFirst) {
  const std::string parameter = "double_blocks.0.img_attn.norm.query_norm.scale";
  const std::vector<float> ours = {1e-7f, 2e7f, -3, 4, 5, 6, 7, 8}, steps(8, 0.25f);
  DensePatch norm{.parameter = parameter, .rows = {0, 8}};
  norm.delta = FullDelta{Matrix::of(1, 8, ours)};
  norm.replaces = true;
  model_.swap->apply({{one(norm), {0.5f}}});
  EXPECT_EQ(values(parameter), ours) << "whatever the strength, without rounding";
  DensePatch more{.parameter = parameter, .rows = {0, 8}};
  more.delta = FullDelta{Matrix::of(1, 8, steps)};
  std::vector<float> sum = ours;
  for (float& value : sum) value += 0.25f;
  model_.swap->apply({{one(more)}, {one(norm), {0.5f}}});
  EXPECT_EQ(values(parameter), sum);
}

// Of the file's lengths, whatever the base is.
TEST_F(MergeTest, AReplacementBroughtToALengthIsExactToo) {
  const std::string parameter = "double_blocks.0.img_attn.proj.weight";
  const Param& param = *model_.target.find_parameter(Component::transformer, parameter);
  const int64_t rows = param.file_shape[0], in = param.file_shape[1];
  std::vector<float> fours(static_cast<size_t>(rows * in)), wanted(fours.size());
  for (int64_t i = 0; i < rows; ++i) {  // rows of length 4 that are to have length 3
    fours[static_cast<size_t>(i * in + i % in)] = 4;
    wanted[static_cast<size_t>(i * in + i % in)] = 3;
  }
  DensePatch patch{.parameter = parameter, .rows = {0, rows}};
  patch.delta = FullDelta{Matrix::of(rows, in, fours)};
  patch.magnitude = Magnitude{std::vector<float>(static_cast<size_t>(rows), 3.0f), false};
  patch.replaces = true;
  model_.swap->apply({{one(patch)}});
  EXPECT_EQ(values(parameter), wanted);
  patch.magnitude = Magnitude{std::vector<float>(static_cast<size_t>(in), 0.0f), true};
  model_.swap->apply({{one(patch)}});
  EXPECT_EQ(values(parameter), std::vector<float>(wanted.size()));
}

// A weight for one part of a fused layer divides its rows.
TEST_F(MergeTest, BlockWeightsReachTheirRowsAlone) {
  const std::string parameter = "double_blocks.0.img_attn.qkv.weight";
  const Param& param = *model_.target.find_parameter(Component::transformer, parameter);
  const int64_t rows = param.file_shape[0], in = param.file_shape[1];
  const std::vector<float> base = values(parameter);
  DensePatch patch{.parameter = parameter, .rows = {0, rows}};
  patch.delta = KroneckerDelta{Matrix::of(rows, 1, std::vector<float>(static_cast<size_t>(rows), 2.0f)),
                               Matrix::of(1, in, std::vector<float>(static_cast<size_t>(in), 1.0f))};
  model_.swap->apply({{one(patch), {.blocks = {{"transformer_blocks.0.attn.to_k", 0.25f}, {"*.to_v", 0.0f}}}}});
  const std::vector<float> merged = values(parameter);
  for (int64_t i = 0; i < rows; ++i) {
    const float strength = std::vector<float>{1.0f, 0.25f, 0.0f}[static_cast<size_t>(i / (rows / 3))];
    for (int64_t j = i * in; j < (i + 1) * in; ++j) {
      ASSERT_EQ(merged[static_cast<size_t>(j)], base[static_cast<size_t>(j)] + 2.0f * strength) << "row " << i;
    }
  }
}

TEST_F(MergeTest, NewScalesMergeOnlyWhatIsMerged) {
  const AdapterPtr beside = low_rank("beside"), in = dense("in");
  const std::vector<float> expected = model_.run_with({{beside, {0.25f}}, {in}});
  model_.swap->apply({{beside}, {in}});
  const SwapReport report = model_.swap->set_scales({0.25f, 1.0f});
  EXPECT_EQ(report.slots_written, 0u);
  EXPECT_EQ(report.params_merged + report.params_restored, 0u);
  EXPECT_GT(report.slots_rescaled, 0u);
  EXPECT_EQ(model_.run(), expected);
  const SwapReport other = model_.swap->set_scales({0.25f, 0.5f});
  EXPECT_EQ(other.slots_written + other.slots_rescaled, 0u);
  EXPECT_GT(other.params_merged, 0u);
}

TEST_F(MergeTest, FailedStagesChangeNothing) {
  const std::vector<float> before = model_.run_with({{mixed("a"), {0.5f}}}), before_weights = weights();
  const AdapterPtr b = dense("b");
  const auto refused = [&](const std::function<void(DensePatch&)>& change) {
    Adapter bad = *b;
    change(bad.dense.back());
    return error_of(ErrorCode::invalid_argument, [&] { model_.swap->stage({{b}, {std::make_shared<Adapter>(bad)}}); });
  };
  EXPECT_THAT(refused([](DensePatch& patch) { patch.parameter = "elsewhere.weight"; }), HasSubstr("another model"));
  EXPECT_THAT(refused([](DensePatch& patch) { patch.rows.begin = -1; }), HasSubstr("another model"));
  EXPECT_THAT(refused([](DensePatch& patch) { patch.rows.count = 1 << 20; }), HasSubstr("another model"));
  EXPECT_THAT(refused([](DensePatch& patch) { patch.delta = FullDelta{Matrix::of(1, 1, std::vector<float>(1))}; }),
              HasSubstr("expected a difference"));
  EXPECT_EQ(model_.run(), before);
  EXPECT_EQ(weights(), before_weights);
}

TEST_F(MergeTest, StagesAgainIfTheStateMovedOn) {
  const AdapterPtr a = mixed("a"), b = mixed("b");
  const std::vector<float> expected = model_.run_with({{a}, merged(b)});
  for (const AdapterSet& between : {AdapterSet{}, AdapterSet{{b}}, AdapterSet{{a}}, AdapterSet{{a, {2.0f}}}}) {
    model_.swap->apply({{b, {0.5f}}});
    StagedAdapters staged = model_.swap->stage({{a}, merged(b)});
    model_.swap->apply(between);
    model_.swap->publish(std::move(staged));
    EXPECT_EQ(model_.run(), expected);
  }
}

TEST_F(MergeTest, PutsTheBaseBackAtTheEnd) {
  const std::vector<float> base = weights();
  model_.swap->apply({{dense("a")}});
  EXPECT_NE(weights(), base);
  model_.swap.reset();
  EXPECT_EQ(weights(), base);
}

// What a thousand swaps leave behind: nothing.
TEST_F(MergeTest, AThousandRandomSwapsLeaveNoTrace) {
  const std::vector<float> base = model_.run(), base_weights = weights();
  Rng rng(9);
  const auto random_set = [&](int i) {
    AdapterSet set;
    for (int64_t n = rng.below(4); n > 0; --n) {
      const std::string name = std::to_string(i) + "-" + std::to_string(n);
      AdapterSettings settings{.scale = rng.uniform(-1.0f, 1.0f)};
      settings.merge = rng.below(4) == 0;
      set.push_back(
          {RandomAdapter(model_.target, name).low_rank(rng.uniform() / 2).dense(rng.uniform() / 8).make(), settings});
    }
    return set;
  };
  // Room for three adapters of the largest rank everywhere: from here on not a byte more.
  const AdapterPtr largest = [&] {
    Adapter adapter{.name = "largest"};
    for (const AdapterTarget::Slot& slot : model_.target.slots()) {
      const std::vector<float> ones(static_cast<size_t>(48 * std::max(slot.slot->in, slot.slot->out)), 1.0f);
      Patch patch{{Matrix::of(48, slot.slot->in, std::span(ones).first(48 * slot.slot->in)),
                   Matrix::of(slot.slot->out, 48, std::span(ones).first(48 * slot.slot->out))}};
      patch.component = slot.component;
      patch.module = slot.slot->module;
      patch.rows = {0, slot.slot->out};
      adapter.patches.push_back(std::move(patch));
    }
    return std::make_shared<const Adapter>(std::move(adapter));
  }();
  model_.swap->reserve({{{largest}}});
  const size_t bytes = model_.ops->runtime().memory().current_bytes;
  size_t slots = 0, parameters = 0;
  for (int i = 0; i < 1000; ++i) {
    const SwapReport report = model_.swap->apply(random_set(i));
    EXPECT_FALSE(report.grew);
    slots += report.slots_written;
    parameters += report.params_merged;
    if (i % 100 == 0) {
      const AdapterSet now = model_.swap->active();
      const std::vector<float> with_it = model_.run();
      EXPECT_EQ(model_.run_with({}), base) << "after swap " << i;
      EXPECT_EQ(model_.run_with(now), with_it);
    }
  }
  EXPECT_GT(slots, 10000u);
  EXPECT_GT(parameters, 10000u);
  model_.swap->apply({});
  EXPECT_EQ(model_.run(), base);
  EXPECT_EQ(weights(), base_weights);
  EXPECT_EQ(model_.ops->runtime().memory().current_bytes, bytes);
  EXPECT_EQ(model_.swap->memory().base_bytes, 0u);
}

// A machine with as much free memory as a test wants.
class SmallMachine final : public ForwardingOps {
 public:
  SmallMachine() : ForwardingOps(make_reference_ops()), memory_(inner().runtime()) {}
  Runtime& runtime() override { return memory_; }
  void free(size_t bytes) { memory_.free = bytes; }
  size_t fetches() const { return memory_.fetches; }
  void allow_lanes(bool allow) { memory_.lanes = allow; }

 private:
  struct Memory final : ForwardingRuntime {
    using ForwardingRuntime::ForwardingRuntime;
    size_t host_available() const override { return free; }
    void fetch(void* target, const void* source, size_t bytes) override {
      ++fetches;
      ForwardingRuntime::fetch(target, source, bytes);
    }
    std::unique_ptr<Staging> stage(size_t bytes) override {
      check(lanes, ErrorCode::out_of_memory, "no room for {} bytes on their way", bytes);
      return ForwardingRuntime::stage(bytes);
    }
    size_t free = SIZE_MAX;
    bool lanes = true;
    std::atomic<size_t> fetches = 0;
  };
  Memory memory_;
};

class MergeOnSmallMachine : public ::testing::Test {
 protected:
  SmallMachine& machine() { return dynamic_cast<SmallMachine&>(*model_.ops); }
  TinyModel model_{{}, std::make_unique<SmallMachine>()};
};

TEST_F(MergeOnSmallMachine, WhatMainMemoryCannotHoldIsRefusedBeforeItIsRead) {
  const AdapterPtr a = RandomAdapter(model_.target, "a").dense(1.0f).make(),
                   b = RandomAdapter(model_.target, "b").low_rank(1.0f).make();
  const std::vector<float> base = model_.run(), with_a = model_.run_with({{a}}), with_b = model_.run_with({{b}});
  size_t values = 0;
  for (const AdapterTarget::Parameter& parameter : model_.target.parameters()) {
    values += 4 * static_cast<size_t>(parameter.param->file_shape.count());
  }
  const auto refused = [&](const AdapterSet& set, std::optional<int> steps = std::nullopt) {
    const size_t before = machine().fetches();
    EXPECT_THAT(error_of(ErrorCode::out_of_memory, [&] { model_.swap->stage(set, steps); }),
                HasSubstr(" GiB are free"));
    EXPECT_EQ(machine().fetches(), before);
    EXPECT_EQ(model_.run(), with_b);
  };
  machine().free(2 * values - 1);
  refused({{a}});
  refused({{a, {.steps = {0.5, 1.0}}}}, 4);  // which does not act at its first step
  machine().free(2 * values);
  StagedAdapters staged = model_.swap->stage({{a}});
  model_.swap->apply({});
  machine().free(0);
  model_.swap->publish(std::move(staged));  // overtaken, so staged again
  EXPECT_EQ(model_.run(), with_a);
  EXPECT_EQ(model_.run_with({{a}, {b, {0.0f}}}), with_a) << "nothing more is merged";
  EXPECT_EQ(model_.run_with({{b}}), with_b);
  EXPECT_EQ(model_.run_with({}), base);
}

TEST_F(MergeOnSmallMachine, WithoutMemoryToCopyThroughNothingChanges) {
  const AdapterPtr a = RandomAdapter(model_.target, "a").dense(1.0f).low_rank(1.0f).make(),
                   b = RandomAdapter(model_.target, "b").dense(0.5f).low_rank(1.0f).make();
  const std::vector<float> with_a = model_.run_with({{a}});
  for (const AdapterSet& set : {AdapterSet{{b}}, AdapterSet{}}) {
    StagedAdapters staged = model_.swap->stage(set);
    machine().allow_lanes(false);
    error_of(ErrorCode::out_of_memory, [&] { model_.swap->publish(std::move(staged)); });
    machine().allow_lanes(true);
    EXPECT_EQ(model_.run(), with_a);
    EXPECT_EQ(model_.swap->active(), AdapterSet{{a}});
  }
  const std::vector<float> with_b = model_.run_with({{b}});
  EXPECT_EQ(model_.run_with({{a}}), with_a);
  EXPECT_EQ(model_.run_with({{b}}), with_b);
}

// What another swap has overtaken is staged again, but its base values need not come from the device once more.
TEST_F(MergeOnSmallMachine, BaseValuesAreFetchedOnce) {
  const AdapterPtr a = RandomAdapter(model_.target, "a").dense(1.0f).make(),
                   b = RandomAdapter(model_.target, "b").low_rank(1.0f).make();
  const std::vector<float> with_both = model_.run_with({{a}, {b}});
  model_.swap->apply({});
  StagedAdapters staged = model_.swap->stage({{a}, {b}});
  model_.swap->apply({{b}});
  const size_t before = machine().fetches();
  model_.swap->publish(std::move(staged));
  EXPECT_EQ(machine().fetches(), before);
  EXPECT_EQ(model_.run(), with_both);
}

// Base and new values of what is merged now, new values of what was merged already, nothing for what stays.
TEST_F(MergeTest, TellsTheMemoryItTakesBeforeItTakesIt) {
  MergedParams params(*model_.ops, model_.target);
  const AdapterPtr a = dense("a");
  const auto set_of = [&](float strength) {
    AdapterParts parts = parts_of({{a, {strength}}}, {true}, model_.target);
    MergedSet set;
    for (auto& [parameter, merged] : parts.parameters) set[parameter] = {std::move(merged), params.base(parameter)};
    return set;
  };
  size_t bytes = 0;
  MergedValues values;
  for (const auto& [parameter, merged] : set_of(1.0f)) {
    const AdapterTarget::Parameter& place = model_.target.parameters()[parameter];
    values[parameter] = merged_values(merged, place);
    bytes += 4 * static_cast<size_t>(place.param->file_shape.count());
  }
  EXPECT_EQ(params.more_bytes(set_of(1.0f)), 2 * bytes);
  EXPECT_EQ(params.publish(*params.prepare(values, set_of(1.0f)), set_of(1.0f)), bytes);
  EXPECT_EQ(params.bytes(), bytes);
  EXPECT_EQ(params.more_bytes(set_of(1.0f)), 0u);
  EXPECT_EQ(params.more_bytes(set_of(0.5f)), bytes);
}

}  // namespace
}  // namespace fx::test
