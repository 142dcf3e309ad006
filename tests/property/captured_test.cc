// Recorded steps: they do what calls do, are recorded once for each size and arrangement of the adapters' memory, and
// swaps within the room that is reserved leave them valid.
#include <array>
#include <atomic>
#include <thread>

#include "lora/random_adapter.h"
#include "property/swap_fixture.h"

namespace fx::test {
namespace {

class Captured : public SwapFixture {
 protected:
  bool records() const { return engine_->ops().runtime().records(); }
  // Steps: what a swap may exchange is recorded together: two sets of weights; no columns of fronts, a quarter, a half, all.
  static size_t at_once(const Engine& engine) { return way_has(GetParam(), "merged") ? 2 : fronts(engine) ? 4 : 1; }
  static bool fronts(const Engine& engine) { return engine.model().flux.types().lora_ranks > 0; }
  static size_t captures_of(Engine& engine) { return engine.pipeline().denoiser().captures(); }
};

TEST_P(Captured, ReplayedStepsEqualSteps) {
  Denoiser& denoiser = engine_->pipeline().denoiser();
  std::vector<Set> sets = kinds();
  sets.push_back({});
  const size_t before = captures();
  for (size_t i = 0; i < sets.size(); ++i) {
    const auto replayed = latents_with(sets[i]);
    const size_t recorded = captures();
    denoiser.use_recordings(false);
    const auto direct = latents_with(sets[i]);
    denoiser.use_recordings(true);
    EXPECT_EQ(replayed, direct) << i;
    EXPECT_EQ(captures(), recorded) << "recorded although it was switched off";
  }
  // An earlier test of this engine may have recorded all that was needed; this one has not had it all in vain.
  EXPECT_EQ(captures() > 0, records());
  EXPECT_LE(captures() - before, 2 * sets.size() * (at_once(*engine_) + 1));
}

TEST_P(Captured, OncePerSizeAndArrangement) {
  const std::unique_ptr<Engine> engine = new_engine(kModel, GetParam());
  const bool merged = way_has(GetParam(), "merged");
  size_t expected = 0;
  const auto draw = [&](int64_t width, int64_t height, uint64_t seed, const Set& set = {}) {
    Request r = request(seed);
    r.width = width, r.height = height;
    return engine->generate_with(set, r).latents.values;
  };
  const auto expect_single = [&](size_t more, const char* what) {
    expected += records() ? more : 0;
    EXPECT_EQ(captures_of(*engine), expected) << what;
  };
  // With what comes before the first step.
  const auto expect_more = [&](size_t more, const char* what) { expect_single(more * (at_once(*engine) + 1), what); };
  expect_more(0, "before the first picture");
  const auto first = draw(64, 64, 1);
  expect_more(1, "the first picture");
  draw(64, 64, 2);
  expect_more(0, "another picture of its size");
  draw(64, 96, 1);
  expect_more(1, "a new size");
  EXPECT_EQ(draw(64, 64, 1), first);
  expect_more(0, "the first size again");
  engine->reserve_rank(16);
  EXPECT_EQ(draw(64, 64, 1), first);
  expect_more(1, "slots that were not there before");
  const auto with_it = draw(64, 64, 1, {{low_rank_}, {dora_}});
  draw(64, 64, 1, {{attention_, {0.5f}}});
  EXPECT_EQ(draw(64, 64, 1), first);
  // The tests' adapters are many times stronger than the weights, more than a front in e4m3 holds: all of the reserved
  // slots.
  expect_single(fronts(*engine) ? 1 : 0, "adapters within the room");
  draw(64, 64, 1, {{attention_, {.steps = {0.0, 0.6}}}});
  expect_single(merged ? at_once(*engine) : 0, "a range of steps: layers that carry nothing add their adapters");
  EXPECT_EQ(draw(64, 64, 1, {{low_rank_}, {dora_}}), with_it);
  draw(64, 64, 1, {{low_rank_, {.steps = {0.4, 1.0}}}});
  EXPECT_EQ(draw(64, 64, 1), first);
  expect_more(0, "both arrangements are known");
}

// A picture of one step is not worth recording; the next one of its size is.
TEST_P(Captured, OneStepIsRecordedAtTheSecondPicture) {
  const std::unique_ptr<Engine> engine = new_engine(kModel, GetParam());
  Request r = request();
  r.steps = 1;
  const auto first = engine->generate(r).latents.values;
  EXPECT_EQ(captures_of(*engine), 0u);
  EXPECT_EQ(engine->generate(r).latents.values, first);
  EXPECT_EQ(engine->generate(r).latents.values, first);
  EXPECT_EQ(captures_of(*engine), records() ? at_once(*engine) : 0u);
}

TEST_P(Captured, TwoHundredRandomSwapsCaptureNothing) {
  engine_->reserve_rank(128);
  const Set some = {{low_rank_}, {dora_, {0.5f}}};
  const auto base = latents_with({}), with_some = latents_with(some);
  latents_with({{low_rank_, {1e-3f}}});  // weak enough for a front
  // Ranks 1 to 128, on some of the layers, and on some rows of these.
  std::vector<std::shared_ptr<const Adapter>> adapters;
  Rng rng(3);
  for (int i = 0; i < 24; ++i) {
    RandomAdapter random(engine_->adapter_target(), "random" + std::to_string(i));
    adapters.push_back(random.low_rank(rng.uniform(0.05f, 0.5f), 128).make());
  }
  HotSwap& swap = engine_->hot_swap();
  const size_t captured = captures();
  size_t written = 0, merged = 0, changed = 0;
  std::vector<float> last = base;
  for (int i = 0; i < 200; ++i) {
    const auto which = static_cast<size_t>(rng.below(static_cast<int64_t>(adapters.size())));
    const SwapReport report = swap.apply({{adapters[which], {rng.uniform(-0.3f, 0.3f)}}});
    written += report.slots_written;
    merged += report.weights_merged;
    if (i % 10 == 9) {
      std::vector<float> now = engine_->generate(request()).latents.values;
      changed += now != last ? 1 : 0;
      last = std::move(now);
    }
    if (i % 40 == 39) {
      EXPECT_EQ(latents_with({}), base) << "after swap " << i;
      EXPECT_EQ(latents_with(some), with_some) << "after swap " << i;
    }
  }
  EXPECT_EQ(captures(), captured);
  EXPECT_EQ(changed, 20u);
  EXPECT_GT(written, 1000u);
  EXPECT_EQ(merged > 500, way_has(GetParam(), "merged"));
  EXPECT_EQ(latents_with({}), base);
}

// What carries its adapters needs no room: without any reserved, no swap of a transformer block's adapters is noticed.
class CapturedMerged : public Captured {};

TEST_P(CapturedMerged, SwapsCaptureNothingWithoutRoom) {
  const std::unique_ptr<Engine> engine = new_engine(kModel, GetParam());
  const auto base = engine->generate(request()).latents.values;
  engine->generate_with({{low_rank_}}, request());  // slots of embedders
  engine->generate_with({{full_}}, request());
  engine->generate_with({}, request());
  const size_t captured = captures_of(*engine);
  for (const int64_t rank : {1, 7, 40, 128}) {
    const std::string name = "grow" + std::to_string(rank);
    const auto file = adapter_for(engine->adapter_target(), name, rank, "transformer_blocks.0.attn")
                          .write(folder_ / (name + ".safetensors"));
    AdapterChange change;
    EXPECT_NE(engine->generate_with({{file, {0.3f}}}, request(), nullptr, &change).latents.values, base);
    EXPECT_FALSE(change.swap.grew);
    EXPECT_GT(change.swap.weights_merged, 0u);
    EXPECT_EQ(engine->generate_with({}, request()).latents.values, base);
  }
  EXPECT_EQ(captures_of(*engine), captured);
}

// Two threads whose pictures push each other's steps out of memory, so that one records while the other reads and lays out
// its adapters: new ones each time, and some that have to know base values.
TEST_P(Captured, AdaptersAreStagedWhileStepsAreRecorded) {
  const std::unique_ptr<Engine> engine = new_engine(kModel, GetParam());
  engine->pipeline().denoiser().limit_memory(1);
  const std::vector<Set> sets = {
      {}, {{low_rank_}}, {{full_, {0.5f}}}, {{kronecker_}, {attention_, {-0.5f}}}, {{dora_}}};
  const std::array<int64_t, 2> heights = {64, 96};
  const auto draw = [&](size_t set, size_t size) {
    Request r = request();
    r.height = heights[size], r.steps = 3;
    return engine->generate_with(sets[set], r).image.rgb;
  };
  std::vector<std::array<std::vector<uint8_t>, 2>> alone;
  for (size_t set = 0; set < sets.size(); ++set) alone.push_back({draw(set, 0), draw(set, 1)});
  const size_t before = captures_of(*engine);
  std::atomic<int> wrong = 0;
  const auto work = [&](size_t size) {
    Rng rng(size);
    for (int i = 0; i < 20; ++i) {
      const auto set = static_cast<size_t>(rng.below(static_cast<int64_t>(sets.size())));
      wrong += draw(set, size) != alone[set][size];
    }
  };
  std::thread other([&] { work(1); });
  work(0);
  other.join();
  EXPECT_EQ(wrong, 0);
  if (records()) { EXPECT_GT(captures_of(*engine), before); }
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CapturedMerged);  // in builds without CUDA
INSTANTIATE_TEST_SUITE_P(Ways, CapturedMerged, testing::ValuesIn(merged_ways()), way_name);
INSTANTIATE_TEST_SUITE_P(Ways, Captured, testing::ValuesIn(model_ways()), way_name);

}  // namespace
}  // namespace fx::test
