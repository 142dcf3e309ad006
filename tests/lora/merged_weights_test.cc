// Weights that carry adapters: made on the device from masters, exact, ahead of their turn, and without a trace afterwards.
#include "lora/apply/merged_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <thread>

#include "lora/random_adapter.h"
#include "lora/tiny_model.h"
#include "support/compare.h"
#include "support/golden.h"

namespace fx::test {
namespace {

using AdapterPtr = std::shared_ptr<const Adapter>;

// Layers that carry their adapters: beside each weight of a block lies a master, from which the device merges, into the set of
// weights that layers read, or into another that takes its place. The parameter is the number of sets.
class MergedWeightsTest : public ::testing::TestWithParam<int> {
 protected:
  AdapterPtr low_rank(const std::string& name, float share = 1.0f) {
    return RandomAdapter(model_.target, name).low_rank(share, 6).make();
  }
  AdapterPtr dense(const std::string& name, float share) {
    return RandomAdapter(model_.target, name).dense(share).make();
  }
  // Low-rank, on blocks' layers alone.
  AdapterPtr of_blocks(const std::string& name) {
    Adapter adapter = *low_rank(name);
    std::erase_if(adapter.patches, [&](const Patch& patch) {
      return !model_.layer(patch.component, patch.module).weight->master.defined();
    });
    return std::make_shared<Adapter>(std::move(adapter));
  }
  static AppliedAdapter ranged(AdapterPtr adapter, float scale = 1.0f) {
    return {std::move(adapter), {.scale = scale, .steps = {0.0, 0.5}}};
  }
  // The weights and masters of all layers.
  std::vector<float> all(Tensor Param::*part) {
    std::vector<float> values;
    for (const Param& param : model_.flux_params.params()) {
      if (!(param.*part).defined()) continue;
      const std::vector<float> more = download(*model_.ops, param.*part);
      values.insert(values.end(), more.begin(), more.end());
    }
    return values;
  }
  // Layers that carry adapters of this set.
  size_t carrying(const AdapterSet& set) {
    std::set<const LoraSlot*> layers;
    for (const AppliedAdapter& applied : set) {
      for (const Patch& patch : applied.adapter->patches) {
        const LoraSlot& layer = model_.layer(patch.component, patch.module);
        if (layer.weight->master.defined()) layers.insert(&layer);
      }
    }
    return layers.size();
  }
  size_t with_master() const {
    return std::ranges::count_if(model_.flux_params.params(), [](const Param& p) { return p.master.defined(); });
  }
  bool merged() const {
    return std::ranges::all_of(model_.target.slots(), [](const AdapterTarget::Slot& slot) {
      return slot.slot->merged == slot.slot->weight->master.defined();
    });
  }
  // Of the layers with masters: base + the patches of `set`, in double.
  void expect_weights(const AdapterSet& set) {
    for (const AdapterTarget::Slot& slot : model_.target.slots()) {
      const Param& param = *slot.slot->weight;
      if (!param.master.defined()) continue;
      const std::vector<float> master = download(*model_.ops, param.master);
      std::vector<double> truth(master.begin(), master.end());
      for (const AppliedAdapter& applied : set) {
        for (const Patch& patch : applied.adapter->patches) {
          if (patch.component != slot.component || patch.module != slot.slot->module) continue;
          const std::vector<float> a = patch.a.values(), b = patch.b.values();
          const double scale = patch.scale * applied.settings.scale_for(patch.component);
          for (int64_t row = 0; row < patch.rows.count; ++row) {
            for (int64_t rank = 0; rank < patch.rank(); ++rank) {
              const double factor = scale * b[static_cast<size_t>(row * patch.rank() + rank)];
              for (int64_t i = 0; i < patch.in(); ++i) {
                truth[static_cast<size_t>((patch.rows.begin + row) * patch.in() + i)] +=
                    factor * a[static_cast<size_t>(rank * patch.in() + i)];
              }
            }
          }
        }
      }
      EXPECT_LT(relative_error(download(*model_.ops, param.tensor), {truth.begin(), truth.end()}), 1e-7)
          << slot.slot->module;
    }
  }

  TinyModel model_{ModelTypes{.masters = true, .weight_sets = GetParam()}}, plain_;  // the same weights
};
INSTANTIATE_TEST_SUITE_P(Sets, MergedWeightsTest, ::testing::Values(1, 2));

TEST_P(MergedWeightsTest, WeightsAreBasePlusDifference) {
  const AdapterPtr a = low_rank("a"), b = low_rank("b");
  const std::vector<float> base = model_.run(), base_weights = all(&Param::tensor), masters = all(&Param::master);
  EXPECT_EQ(base, plain_.run()) << "a master alone changes nothing";
  EXPECT_TRUE(merged()) << "from the start, so that the first adapter changes no recorded step";
  const AdapterSet set = {{a, {0.75f}}, {b, {-0.5f, 1.25f}}};
  const SwapReport report = model_.swap->apply(set);
  EXPECT_GT(carrying(set), 10u);
  EXPECT_LT(carrying(set), model_.flux_params.slots().size()) << "modulation and embedders have no master";
  // The other set of weights has nothing yet, not even the base.
  EXPECT_EQ(report.weights_merged, GetParam() == 2 ? with_master() : carrying(set));
  EXPECT_EQ(report.params_merged, 0u);
  expect_weights(set);
  EXPECT_EQ(all(&Param::master), masters);
  EXPECT_TRUE(merged());
  const std::vector<float> with_it = model_.run(), beside = plain_.run_with(set), plain_base = plain_.run_with({});
  EXPECT_LT(relative_error(minus(with_it, base), minus(beside, plain_base)), 1e-5);
  EXPECT_NE(with_it, base);
  // The first set still is the base.
  EXPECT_EQ(model_.swap->apply({}).weights_merged, GetParam() == 2 ? 0 : carrying(set));
  EXPECT_EQ(all(&Param::tensor), base_weights) << "unmerged exactly";
  EXPECT_EQ(model_.run(), base);
  EXPECT_EQ(model_.run_with(set), with_it);
}

// The settings' `merge` asks for what happens anyway, and not for the way over the host.
TEST_P(MergedWeightsTest, MergeOnTheHostIsNotNeeded) {
  const AdapterPtr a = of_blocks("a");
  const std::vector<float> expected = model_.run_with({{a, {0.5f}}});
  model_.swap->apply({{a}});
  model_.swap->apply({});
  const SwapReport report = model_.swap->apply({{a, {.scale = 0.5f, .merge = true}}});
  EXPECT_EQ(report.params_merged, 0u);
  EXPECT_EQ(report.slots_written, a->patches.size());
  EXPECT_EQ(report.weights_merged, a->patches.size());
  EXPECT_EQ(model_.run(), expected);
  EXPECT_EQ(model_.swap->memory().base_bytes, 0u);
}

// Nor of layers that have no master: in FLUX.1 those for modulation alone would take the host 26 GB and many seconds, and
// what they cost beside their weights is paid once a picture.
TEST_P(MergedWeightsTest, MergeLeavesLayersWithoutAMasterAlone) {
  const AdapterPtr a = low_rank("a");
  const std::vector<float> expected = model_.run_with({{a, {0.5f, 0.75f}}});
  model_.swap->apply({});
  const SwapReport report = model_.swap->apply({{a, {.scale = 0.5f, .text_encoder_scale = 0.75f, .merge = true}}});
  EXPECT_EQ(report.params_merged, 0u);
  EXPECT_EQ(model_.swap->memory().base_bytes, 0u);
  EXPECT_EQ(model_.run(), expected);
}

// While an adapter comes and goes with the steps, all layers add theirs: bit for bit what they do without masters.
TEST_P(MergedWeightsTest, StepRangesAreNotMerged) {
  const AdapterPtr a = low_rank("a"), b = low_rank("b", 0.5f);
  const std::vector<float> base = model_.run(), base_weights = all(&Param::tensor);
  const std::vector<float> with_a = model_.run_with({{a}});
  const SwapReport out = model_.swap->apply({{a}, ranged(b)});
  EXPECT_EQ(out.weights_merged, GetParam() == 2 ? 0 : carrying({{a}})) << "one of two sets has the base";
  for (const AdapterTarget::Slot& slot : model_.target.slots()) EXPECT_FALSE(slot.slot->merged);
  EXPECT_EQ(all(&Param::tensor), base_weights);
  EXPECT_EQ(model_.run(), plain_.run_with({{a}, ranged(b)}));
  for (const int step : {3, 0, 2}) {  // of 4: b is off in the second half
    model_.swap->enter_step(step, 4);
    plain_.swap->enter_step(step, 4);
    EXPECT_EQ(all(&Param::tensor), base_weights);
    EXPECT_EQ(model_.run(), plain_.run()) << step;
  }
  const SwapReport in = model_.swap->apply({{a}});
  EXPECT_EQ(in.weights_merged, GetParam() == 2 ? 0 : carrying({{a}})) << "the other has this adapter";
  EXPECT_TRUE(merged());
  EXPECT_EQ(model_.run(), with_a) << "merged again";
  EXPECT_EQ(model_.run_with({ranged(a, 0.0f)}), base);
  EXPECT_EQ(model_.run_with({}), base);
}

// A matter of the request, not of what was loaded: bit for bit what layers without masters do, and back.
TEST_P(MergedWeightsTest, AdaptersStayBesideTheWeightsOnRequest) {
  const AdapterPtr a = low_rank("a"), b = low_rank("b", 0.5f);
  const std::vector<float> base = model_.run(), merged_a = model_.run_with({{a}});
  const AdapterSet beside = {{a, {.scale = 0.5f, .beside = true}}, {b}};
  model_.swap->apply(beside);
  EXPECT_FALSE(merged());
  EXPECT_EQ(model_.run(), plain_.run_with(beside));
  model_.swap->apply({{a, {.scale = 0.5f}}, {b}});
  EXPECT_TRUE(merged());
  EXPECT_EQ(model_.run_with({{a}}), merged_a);
  EXPECT_EQ(model_.run_with({}), base);
}

// Of a layer with both, the dense difference is in the master, and the slot's comes on top of it.
TEST_P(MergedWeightsTest, DenseAndLowRankOnOneLayer) {
  const AdapterPtr low = low_rank("low"), whole = dense("whole", 0.5f);
  const std::vector<float> base = model_.run(), base_weights = all(&Param::tensor), masters = all(&Param::master);
  const std::vector<float> with_low = model_.run_with({{low}}), low_weights = all(&Param::tensor);
  const SwapReport both = model_.swap->apply({{low}, {whole, {0.5f}}});
  EXPECT_EQ(both.slots_written, 0u) << "the low-rank part is where it was";
  EXPECT_GT(both.weights_merged, 0u);
  if (GetParam() == 1) { EXPECT_LT(both.weights_merged, carrying({{low}})) << "those alone that have new masters"; }
  else { EXPECT_LE(both.weights_merged, with_master()); }
  EXPECT_NE(all(&Param::master), masters);
  expect_weights({{low}});  // on the masters that now have the other in them
  const AdapterSet set = {{low}, {whole, {0.5f}}};
  const std::vector<float> plain_base = plain_.run();
  EXPECT_LT(relative_error(minus(model_.run(), base), minus(plain_.run_with(set), plain_base)), 1e-5);
  EXPECT_GT(model_.swap->apply({{low}}).params_restored, 0u);
  EXPECT_EQ(all(&Param::tensor), low_weights);
  EXPECT_EQ(all(&Param::master), masters);
  EXPECT_EQ(model_.run(), with_low);
  const std::vector<float> with_dense = model_.run_with({{whole, {0.5f}}});
  EXPECT_NE(with_dense, base);
  EXPECT_EQ(model_.run_with({}), base);
  EXPECT_EQ(model_.run_with({{whole, {0.5f}}}), with_dense) << "without a slot";
  EXPECT_EQ(model_.run_with({}), base);
  EXPECT_EQ(all(&Param::tensor), base_weights);
  EXPECT_EQ(all(&Param::master), masters);
}

TEST_P(MergedWeightsTest, NewScalesAreMergedAnew) {
  const AdapterPtr a = of_blocks("a"), b = of_blocks("b");
  const std::vector<float> expected = model_.run_with({{a, {0.25f}}, {b, {-2.0f}}});
  model_.swap->apply({{a}, {b}});
  model_.swap->apply({{a, {0.5f}}, {b}});
  const SwapReport report = model_.swap->set_scales({0.25f, -2.0f});
  EXPECT_EQ(report.slots_written, 0u);
  EXPECT_GT(report.slots_rescaled, 0u);
  EXPECT_EQ(report.weights_merged, report.slots_rescaled);
  EXPECT_EQ(model_.run(), expected);
  EXPECT_EQ(model_.swap->set_scales({0.25f, -2.0f}).weights_merged, 0u) << "nothing is new";
}

TEST_P(MergedWeightsTest, LayersThatCarryNeedNoSlots) {
  const AdapterPtr a = of_blocks("a");
  model_.swap->reserve({{{a}}});
  model_.swap->apply({{a}});
  EXPECT_EQ(model_.swap->memory().slot_bytes, 0u);
  model_.swap->reserve_rank(Component::transformer, 40);
  const size_t others = model_.swap->memory().slot_bytes;
  EXPECT_GT(others, 0u) << "of modulation and embedders";
  const uint64_t generation = model_.swap->generation();
  EXPECT_TRUE(model_.swap->apply({ranged(a)}).grew);
  EXPECT_GT(model_.swap->memory().slot_bytes, others);
  EXPECT_EQ(model_.swap->generation(), generation + 1);
  model_.swap->apply({ranged(RandomAdapter(model_.target, "large").low_rank(0.5f, 40).make())});
  EXPECT_LE(model_.swap->generation(), generation + 2) << "all the room at once";
}

TEST_P(MergedWeightsTest, SlotsAreReservedForSetsThatNeedThem) {
  const AdapterPtr a = of_blocks("a");
  const std::vector<float> expected = plain_.run_with({ranged(a)});
  model_.swap->reserve({{ranged(a)}, {{a}}});
  EXPECT_GT(model_.swap->memory().slot_bytes, 0u);
  EXPECT_FALSE(model_.swap->apply({{a}}).grew);
  EXPECT_FALSE(model_.swap->apply({ranged(a)}).grew);
  EXPECT_EQ(model_.run(), expected);
}

// The next set is written while layers read the other, by another thread; it changes nothing until it is published.
TEST_P(MergedWeightsTest, MergesAheadOfPublishing) {
  const AdapterSet a = {{of_blocks("a")}}, b = {{of_blocks("b"), {0.5f}}}, c = {{of_blocks("c")}};
  const std::vector<float> with_b = model_.run_with(b), with_c = model_.run_with(c), with_a = model_.run_with(a);
  StagedAdapters staged;
  std::thread([&] { staged = model_.swap->stage(b); }).join();
  EXPECT_EQ(model_.run(), with_a);
  const SwapReport report = model_.swap->publish(std::move(staged));
  EXPECT_EQ(report.merged_ahead, GetParam() == 2 ? report.weights_merged : 0);
  EXPECT_GT(report.weights_merged, 0u);
  EXPECT_EQ(model_.run(), with_b);
  // Two that wait: the first has the set, the second is merged when its turn comes.
  StagedAdapters first = model_.swap->stage(a), second = model_.swap->stage(c);
  EXPECT_EQ(model_.run(), with_b);
  model_.swap->publish(std::move(first));
  EXPECT_EQ(model_.run(), with_a);
  EXPECT_EQ(model_.swap->publish(std::move(second)).merged_ahead, 0u);
  EXPECT_EQ(model_.run(), with_c);
  // In the other order, and one that is dropped.
  first = model_.swap->stage(a), second = model_.swap->stage(b);
  model_.swap->publish(std::move(second));
  EXPECT_EQ(model_.run(), with_b);
  first = {};
  model_.swap->publish(model_.swap->stage(c));
  EXPECT_EQ(model_.run(), with_c);
}

TEST_P(MergedWeightsTest, RandomSwapsLeaveNoTrace) {
  const std::vector<float> base = model_.run(), base_weights = all(&Param::tensor), masters = all(&Param::master);
  std::vector<std::pair<AdapterSet, std::vector<float>>> sets;
  Rng rng(4);
  for (int i = 0; i < 8; ++i) {
    const std::string name = std::to_string(i);
    AdapterSet set = {{low_rank(name, rng.uniform(0.1f, 0.6f)), {rng.uniform(-1.0f, 1.0f)}}};
    if (i % 2) set.push_back({dense(name, 0.1f), {rng.uniform(-1.0f, 1.0f)}});
    if (i % 3 == 0) set.push_back(ranged(low_rank("ranged" + name, 0.2f)));
    TinyModel fresh{ModelTypes{.masters = true, .weight_sets = GetParam()}};
    sets.emplace_back(set, fresh.run_with(set));
  }
  for (int i = 0; i < 100; ++i) {
    const auto& [set, expected] = sets[static_cast<size_t>(rng.below(8))];
    EXPECT_EQ(model_.run_with(set), expected) << i;
  }
  EXPECT_EQ(model_.run_with({}), base);
  EXPECT_EQ(all(&Param::tensor), base_weights);
  EXPECT_EQ(all(&Param::master), masters);
}

}  // namespace
}  // namespace fx::test
