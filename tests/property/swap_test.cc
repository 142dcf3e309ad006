// Adapters of every kind while pictures are being made: ranges of steps, several threads, several adapters at once.
#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "property/swap_fixture.h"
#include "support/expect_error.h"

namespace fx::test {
namespace {

class Swaps : public SwapFixture {};

TEST_P(Swaps, EveryKindComesAndGoesExactly) {
  const auto base = latents_with({});
  const std::vector<Set> sets = kinds();
  std::vector<std::vector<float>> alone;
  for (size_t i = 0; i < sets.size(); ++i) {
    alone.push_back(latents_with(sets[i]));
    EXPECT_NE(alone.back(), base) << i;
    EXPECT_EQ(latents_with({}), base) << i;
  }
  for (size_t i = sets.size(); i-- > 0;) EXPECT_EQ(latents_with(sets[i]), alone[i]) << i;
  EXPECT_EQ(latents_with({}), base);
  EXPECT_EQ(engine_->hot_swap().memory().base_bytes, 0u);
}

// Before the first adapter layers have no slot at all. Where a slot without ranks would change a bit, no later test could
// tell: its base has slots already.
TEST_P(Swaps, TheFirstAdapterOfAnEngineLeavesNoTrace) {
  const std::unique_ptr<Engine> fresh = new_engine(kModel, GetParam());
  const auto base = fresh->generate(request()).latents.values;
  EXPECT_EQ(fresh->hot_swap().memory().slot_bytes, 0u);
  EXPECT_NE(fresh->generate_with({{low_rank_}, {clip_}}, request()).latents.values, base);
  EXPECT_GT(fresh->hot_swap().memory().slot_bytes, 0u);
  EXPECT_EQ(fresh->generate_with({}, request()).latents.values, base);
  fresh->reserve_rank(64);
  EXPECT_EQ(fresh->generate(request()).latents.values, base) << "with room that is not used";
  EXPECT_EQ(latents_with({}), base) << "another engine of the same model";
}

// A range is what two runs, composed by hand at its border, give.
TEST_P(Swaps, RangesOfStepsEqualRunsComposedByHand) {
  const ModelConfigs& configs = engine_->model().configs;
  const Request whole = completed(request(), configs);
  const auto composed = [&](const AdapterChoice& before, const AdapterChoice& after, int border) {
    engine_->use_adapters({before});
    const Conditions conditions = engine_->pipeline().encode(whole.prompt, whole.max_sequence_length);
    Denoiser& denoiser = engine_->pipeline().denoiser();
    const int64_t multiple = configs.size_multiple();
    FluxActivations& a = denoiser.activations({.txt_tokens = whole.max_sequence_length,
                                               .rows = whole.height / multiple,
                                               .columns = whole.width / multiple,
                                               .steps = kSteps});
    const auto sigmas = flow_match_sigmas(configs.scheduler, kSteps, a.sizes.img_tokens());
    denoiser.begin(a, [&] { return packed_noise(configs, whole).values; }, conditions, sigmas,
                   flow_match_timesteps(configs.scheduler, sigmas), whole.guidance, nullptr);
    for (int step = 0; step < kSteps; ++step) {
      if (step == border) {
        engine_->use_adapters({after});
        engine_->model().flux.prepare(engine_->ops(), a);
      }
      denoiser.step(a);
    }
    return download(engine_->ops(), a.latents);
  };
  // Of text encoders alone, that are merged in another order of rounding: weights of bf16 are off by 0.2 % each, and
  // where activations are quantised, other values fall to the other side of a rounding.
  const double of_text = exact() ? 1e-4 : way_has(GetParam(), "fp8") ? 0.1 : 0.05;
  for (const auto& file : {low_rank_, dora_, full_, kronecker_}) {
    const AdapterChoice on{file, {.scale = 0.8f}};
    const AdapterChoice text_only{file, {.scale = 0.0f, .text_encoder_scale = 0.8f}};
    // Always, but said as a range: it is never merged into the weights from masters, as no part of a range is.
    const auto ranged = [](AdapterChoice choice) {
      choice.settings.steps = {0.0, 0.99};
      return choice;
    };
    const auto always = latents_with({on}), never = latents_with({text_only});
    const auto early = composed(ranged(on), ranged(text_only), 3), late = composed(ranged(text_only), ranged(on), 3);
    EXPECT_NE(early, always);
    EXPECT_NE(early, never);
    EXPECT_EQ(latents_with({{file, {.scale = 0.8f, .steps = {0.0, 0.6}}}}), early) << file;
    EXPECT_EQ(latents_with({{file, {.scale = 0.8f, .steps = {0.6, 1.0}}}}), late) << file;
    const AdapterSettings merged{.scale = 0.8f, .steps = {0.0, 0.6}, .merge = true};
    EXPECT_LT(relative_error(latents_with({{file, merged}}), early), of_text) << "of the text encoders only";
    EXPECT_EQ(latents_with({on}), always) << "what is left of a range";
    EXPECT_EQ(latents_with({text_only}), never);
  }
}

TEST_P(Swaps, CancelledInTheMiddleOfARangeLeavesNothing) {
  const Set ranged = {{dora_, {.steps = {0.0, 0.4}}}, {low_rank_, {.steps = {0.4, 1.0}}}};
  const auto expected = latents_with(ranged), base = latents_with({});
  EXPECT_THROW(engine_->generate_with(ranged, request(), [](const Progress& now) { return now.step < 3; }), Error);
  EXPECT_EQ(engine_->generate(request()).latents.values, expected) << "the set stays active, from its beginning";
  EXPECT_EQ(latents_with({}), base);
}

// Eight at once, of any kind. What a slot has room for beyond their ranks is never multiplied, nor the rows of B to which a
// rank does not lead, whatever lies there: no swap cleans up behind the last.
TEST_P(Swaps, EightAdaptersCostTheSumOfTheirRanks) {
  Set eight = {{low_rank_, {0.2f}}, {dora_, {0.5f}}, {full_, {0.2f}}, {kronecker_, {0.2f}}};
  for (int i = 0; i < 4; ++i) {
    const std::string name = "rank" + std::to_string(2 * i + 1);
    eight.push_back(
        {adapter_for(engine_->adapter_target(), name, 2 * i + 1).write(folder_ / (name + ".safetensors")), {0.1f}});
  }
  const std::unique_ptr<Engine> fresh = new_engine(kModel, GetParam());  // its slots are spoiled
  const auto expected = fresh->generate_with(eight, request()).latents.values;
  Ops& ops = fresh->ops();
  size_t poisoned = 0;
  for (const AdapterTarget::Slot& slot : fresh->adapter_target().slots()) {
    const LoraOperand& operand = slot.slot->operand;
    if (!operand.defined()) continue;
    std::vector<int32_t> segments(static_cast<size_t>(operand.segments.count())), count(1);
    for (const auto& [values, tensor] : {std::pair(&segments, operand.segments), std::pair(&count, operand.count)}) {
      ops.runtime().copy(values->data(), tensor.raw(), static_cast<size_t>(tensor.bytes()), CopyKind::device_to_host);
    }
    ops.runtime().synchronize();
    std::vector<float> a = download(ops, operand.a), b = download(ops, operand.b), scale = download(ops, operand.scale);
    std::vector<bool> rank_used(scale.size()), b_used(b.size());
    for (size_t i = 0; i < static_cast<size_t>(count[0]); ++i) {
      const int32_t* segment = &segments[5 * i];  // first rank, ranks, first row, rows, first element of b
      for (int32_t rank = 0; rank < segment[1]; ++rank) {
        rank_used[static_cast<size_t>(segment[0] + rank)] = true;
        for (int32_t row = 0; row < segment[3]; ++row) {
          b_used[static_cast<size_t>(segment[4] + row * lora_pitch(segment[1]) + rank)] = true;
        }
      }
    }
    const auto in = static_cast<size_t>(operand.a.size(1));
    for (size_t i = 0; i < b.size(); ++i) {
      if (!b_used[i]) b[i] = NAN, ++poisoned;
    }
    for (size_t rank = 0; rank < scale.size(); ++rank) {
      if (rank_used[rank]) continue;
      std::fill_n(a.begin() + static_cast<std::ptrdiff_t>(rank * in), in, NAN);
      scale[rank] = NAN;
    }
    upload(ops, a, operand.a);
    upload(ops, b, operand.b);
    upload(ops, scale, operand.scale);
  }
  EXPECT_GT(poisoned, 10'000u);
  EXPECT_EQ(fresh->generate(request()).latents.values, expected);
  // New scales and back: what is merged is merged again, from matrices that are still spoiled.
  const std::vector<float> scales = {0.2f, 0.5f, 0.2f, 0.2f, 0.1f, 0.1f, 0.1f, 0.1f};
  fresh->hot_swap().set_scales(std::vector<float>(8, 0.05f));
  EXPECT_NE(fresh->generate(request()).latents.values, expected);
  fresh->hot_swap().set_scales(scales);
  EXPECT_EQ(fresh->generate(request()).latents.values, expected);
  std::ranges::reverse(eight);
  EXPECT_LT(relative_error(latents_with(eight), expected), exact() ? 1e-4 : 0.05)
      << "only rounding depends on the order";
}

// New scales are a few numbers for each layer that adds its adapters as it runs; those that carry them get them anew.
TEST_P(Swaps, NewScalesWriteNoMatrices) {
  const Set whole = {{low_rank_}, {attention_, {0.5f}}}, other = {{low_rank_, {0.25f}}, {attention_, {-1.0f}}};
  const auto expected = latents_with(other);
  const SwapReport all = engine_->use_adapters({}).swap;
  EXPECT_GT(all.slots_cleared, 0u);
  const SwapReport first = engine_->use_adapters(whole).swap;
  const SwapReport report = engine_->use_adapters(other).swap;
  EXPECT_EQ(report.slots_written, 0u);
  EXPECT_EQ(report.slots_rescaled, first.slots_written);
  EXPECT_FALSE(report.grew);
  const bool carried = way_has(GetParam(), "merged") || way_has(GetParam(), "folded");
  if (!carried) { EXPECT_LT(report.bytes, first.bytes / 2); }
  EXPECT_EQ(report.weights_merged > 0, way_has(GetParam(), "merged"));
  EXPECT_EQ(engine_->generate(request()).latents.values, expected);
}

// What was staged ahead is what is used, if it is what is wanted; and no error comes before it is.
TEST_P(Swaps, WhatIsPreparedNeedNotBeStaged) {
  const Set set = {{low_rank_, {0.5f}}}, other = {{attention_, {0.25f}}}, broken = {{folder_ / "broken.safetensors"}};
  const auto expected = latents_with(set), with_other = latents_with(other);
  for (const int round : {0, 1}) {
    engine_->prepare_next(set, round == 0 ? std::nullopt : std::optional(kSteps));
    EXPECT_EQ(engine_->generate(request()).latents.values, with_other) << "not yet";
    AdapterChange change;
    EXPECT_EQ(engine_->generate_with(set, request(), nullptr, &change).latents.values, expected);
    if (way_has(GetParam(), "merged")) { EXPECT_EQ(change.swap.merged_ahead, change.swap.weights_merged); }
    engine_->prepare_next(other);
    engine_->use_adapters(other);
    EXPECT_EQ(engine_->generate(request()).latents.values, with_other);
  }
  engine_->prepare_next(broken);
  EXPECT_EQ(latents_with(set), expected) << "another than was prepared";
  engine_->prepare_next(broken);
  EXPECT_THROW(engine_->use_adapters(broken), Error);
  EXPECT_EQ(latents_with(set), expected);
  // Prepared for all steps, wanted for some: staged anew.
  const Set ranged = {{low_rank_, {.scale = 0.5f, .steps = {0.0, 0.4}}}};
  const auto in_range = latents_with(ranged);
  engine_->prepare_next(ranged);
  EXPECT_EQ(latents_with(ranged), in_range);
}

// What overflows is an error that names the step, and leaves nothing: the next picture is right.
TEST_P(Swaps, OverflowNamesTheStepAndLeavesNothing) {
  const auto base = latents_with({}), with_it = latents_with({{low_rank_}});
  const std::vector<Set> sets = {
      {{golden_adapter("all-linears"), {1e30f}}},
      {{full_, {1e30f}}, {golden_adapter("all-linears"), {1e30f}}},
      {{golden_adapter("all-linears"), {.scale = 1e30f, .steps = {0.4, 1.0}}}},
  };
  for (size_t i = 0; i < sets.size(); ++i) {
    // A range begins with step 2 of 5, counted from 0: what comes before is right.
    const std::string text = error_of(ErrorCode::device, [&] { engine_->generate_with(sets[i], request()); });
    EXPECT_THAT(text, testing::HasSubstr(i == 2 ? "after step 3 of 5" : "after step 1 of 5"));
    EXPECT_EQ(latents_with({}), base) << i;
    EXPECT_EQ(latents_with({{low_rank_}}), with_it) << i;
  }
}

// Threads that share the engine: every picture is that of its own adapters alone, bitwise, whatever the others do.
TEST_P(Swaps, ThreadsGetThePicturesOfTheirOwnAdapters) {
  const std::vector<Set> sets = {
      {},
      {{low_rank_}},
      {{attention_, {-0.5f}}, {dora_}},
      {{full_, {.scale = 0.5f, .steps = {0.0, 0.6}}}, {attention_}},
      {{kronecker_}, {low_rank_, {.scale = 0.5f, .merge = true}}},
      {{low_rank_, {.scale = 1.0f, .steps = {0.4, 1.0}}}, {dora_, {0.5f}}},
  };
  std::vector<std::vector<uint8_t>> alone;
  for (const auto& set : sets) alone.push_back(engine_->generate_with(set, request()).image.rgb);
  std::atomic<int> wrong = 0, pictures = 0, refused = 0;
  std::atomic<bool> done = false;
  const auto make_pictures = [&](uint64_t seed) {
    Rng rng(seed);
    for (int i = 0; i < 40; ++i) {
      const auto which = static_cast<size_t>(rng.below(static_cast<int64_t>(sets.size())));
      wrong += engine_->generate_with(sets[which], request()).image.rgb != alone[which];
      ++pictures;
    }
  };
  const auto disturb = [&] {  // swaps at random, and asks for what cannot be
    Rng rng(99);
    while (!done) {
      engine_->use_adapters(sets[static_cast<size_t>(rng.below(static_cast<int64_t>(sets.size())))]);
      try {
        engine_->use_adapters({{low_rank_}, {folder_ / "broken.safetensors"}});
      } catch (const Error&) { ++refused; }
      try {
        engine_->generate_with({{full_, {NAN}}}, request());
      } catch (const Error&) { ++refused; }
      std::this_thread::yield();
    }
  };
  std::thread first(make_pictures, 1), second(make_pictures, 2), third(disturb);
  first.join();
  second.join();
  done = true;
  third.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(pictures, 80);
  EXPECT_GT(refused, 2);
  EXPECT_EQ(engine_->generate_with({}, request()).image.rgb, alone[0]);
}

INSTANTIATE_TEST_SUITE_P(Ways, Swaps, testing::ValuesIn(model_ways()), way_name);

}  // namespace
}  // namespace fx::test
