// Adapters of every kind while pictures are being made: ranges of steps, several threads, several adapters at once.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "core/error.h"
#include "golden/golden_run.h"
#include "lora/adapter_file.h"
#include "support/temp_folder.h"

namespace fx::test {
namespace {

constexpr const char* kModel = "tiny-dev";
constexpr int kSteps = 5;

class Swaps : public testing::Test {
 protected:
  Swaps() : engine_(engine_for(kModel, "cpu")) {
    engine_.use_adapters({});
    const AdapterTarget& target = engine_.adapter_target();
    low_rank_ = adapter_for(target, "low", 3).write(folder_ / "low.safetensors");
    attention_ = adapter_for(target, "attention", 5, "attn.").write(folder_ / "attention.safetensors");
    dora_ = dora(target).write(folder_ / "dora.safetensors");
    full_ = full(target).write(folder_ / "full.safetensors");
    kronecker_ = kronecker(target).write(folder_ / "kronecker.safetensors");
    folder_.file("broken.safetensors", "<!DOCTYPE html>");
  }
  ~Swaps() override { engine_.use_adapters({}); }

  static int64_t in_of(const AdapterTarget& target, const std::string& module) {
    return target.slots()[target.find(Component::transformer, module)->slot].slot->in;
  }
  static int64_t out_of(const AdapterTarget& target, const std::string& module) {
    return target.find(Component::transformer, module)->rows.count;
  }
  static AdapterFileBuilder dora(const AdapterTarget& target) {
    AdapterFileBuilder builder = adapter_for(target, "dora", 2, "single_transformer_blocks.0.attn");
    for (const char* part : {"to_q", "to_k", "to_v"}) {
      const std::string module = std::string("single_transformer_blocks.0.attn.") + part;
      builder.add("transformer." + module + ".lora_magnitude_vector", {out_of(target, module)},
                  std::vector<float>(static_cast<size_t>(out_of(target, module)), 2.0f));
    }
    return builder;
  }
  static AdapterFileBuilder full(const AdapterTarget& target) {
    const int64_t in = in_of(target, "double_blocks.0.img_attn.proj");
    return AdapterFileBuilder()
        .random("diffusion_model.double_blocks.0.img_attn.proj.diff", {in, in}, "full")
        .random("diffusion_model.double_blocks.0.img_attn.proj.diff_b", {in}, "bias")
        .pair("diffusion_model.double_blocks.0.txt_attn.proj", 2, in, in, "full");
  }
  static AdapterFileBuilder kronecker(const AdapterTarget& target) {
    const int64_t in = in_of(target, "single_blocks.0.linear2"), out = out_of(target, "single_blocks.0.linear2");
    return AdapterFileBuilder()
        .random("lycoris_single_blocks_0_linear2.lokr_w1", {2, 2}, "w1")
        .random("lycoris_single_blocks_0_linear2.lokr_w2", {out / 2, in / 2}, "w2")
        .add("lycoris_single_blocks_0_linear2.alpha", {}, {1.0f});
  }

  static Request request(uint64_t seed = 11) {
    Request r{.prompt = "a red star", .width = 64, .height = 64, .steps = kSteps};
    r.seed = seed;
    r.max_sequence_length = 8;
    return r;
  }
  std::vector<float> latents_with(const std::vector<AdapterChoice>& adapters) {
    return engine_.generate_with(adapters, request()).latents.values;
  }

  TempFolder folder_;
  Engine& engine_;
  std::filesystem::path low_rank_, attention_, dora_, full_, kronecker_;
};

TEST_F(Swaps, EveryKindComesAndGoesExactly) {
  const auto base = latents_with({});
  const std::vector<std::vector<AdapterChoice>> sets = {
      {{low_rank_}},
      {{dora_}},
      {{full_, {-0.5f}}},
      {{kronecker_, {0.5f}}},
      {{dora_}, {low_rank_, {0.3f}}, {kronecker_}},
      {{low_rank_, {.scale = 0.7f, .merge = true}}},
      {{attention_, {.blocks = {{"transformer_blocks.*.to_q", 0.0f}}}}},
  };
  std::vector<std::vector<float>> alone;
  for (const auto& set : sets) {
    alone.push_back(latents_with(set));
    EXPECT_NE(alone.back(), base);
    EXPECT_EQ(latents_with({}), base);
  }
  for (size_t i = sets.size(); i-- > 0;) EXPECT_EQ(latents_with(sets[i]), alone[i]) << i;
  engine_.use_adapters({});
  EXPECT_EQ(engine_.hot_swap().memory().base_bytes, 0u);
}

// A range is what two runs, composed by hand at its border, give.
TEST_F(Swaps, RangesOfStepsEqualRunsComposedByHand) {
  const ModelConfigs& configs = engine_.model().configs;
  const Request whole = completed(request(), configs);
  const auto composed = [&](const AdapterChoice& before, const AdapterChoice& after, int border) {
    engine_.use_adapters({before});
    const Conditions conditions = engine_.pipeline().encode(whole.prompt, whole.max_sequence_length);
    Denoiser& denoiser = engine_.pipeline().denoiser();
    const int64_t multiple = configs.size_multiple();
    FluxActivations& a = denoiser.activations({.txt_tokens = whole.max_sequence_length,
                                               .rows = whole.height / multiple,
                                               .columns = whole.width / multiple,
                                               .steps = kSteps});
    const auto sigmas = flow_match_sigmas(configs.scheduler, kSteps, a.sizes.img_tokens());
    denoiser.begin(a, packed_noise(configs, whole).values, conditions, sigmas,
                   flow_match_timesteps(configs.scheduler, sigmas), whole.guidance, nullptr);
    for (int step = 0; step < kSteps; ++step) {
      if (step == border) {
        engine_.use_adapters({after});
        engine_.model().flux.prepare(engine_.ops(), a);
      }
      denoiser.step(a);
    }
    return download(engine_.ops(), a.latents);
  };
  for (const auto& file : {low_rank_, dora_, full_, kronecker_}) {
    const AdapterChoice on{file, {.scale = 0.8f}};
    const AdapterChoice text_only{file, {.scale = 0.0f, .text_encoder_scale = 0.8f}};
    const auto always = latents_with({on}), never = latents_with({text_only});
    const auto early = composed(on, text_only, 3), late = composed(text_only, on, 3);
    EXPECT_NE(early, always);
    EXPECT_NE(early, never);
    EXPECT_EQ(latents_with({{file, {.scale = 0.8f, .steps = {0.0, 0.6}}}}), early) << file;
    EXPECT_EQ(latents_with({{file, {.scale = 0.8f, .steps = {0.6, 1.0}}}}), late) << file;
    const AdapterSettings merged{.scale = 0.8f, .steps = {0.0, 0.6}, .merge = true};
    EXPECT_LT(relative_error(latents_with({{file, merged}}), early), 1e-4) << "of the text encoders only";
    EXPECT_EQ(latents_with({on}), always) << "what is left of a range";
    EXPECT_EQ(latents_with({text_only}), never);
  }
}

TEST_F(Swaps, CancelledInTheMiddleOfARangeLeavesNothing) {
  const std::vector<AdapterChoice> ranged = {{dora_, {.steps = {0.0, 0.4}}}, {low_rank_, {.steps = {0.4, 1.0}}}};
  const auto expected = latents_with(ranged), base = latents_with({});
  EXPECT_THROW(engine_.generate_with(ranged, request(), [](const Progress& now) { return now.step < 3; }), Error);
  EXPECT_EQ(engine_.generate(request()).latents.values, expected) << "the set stays active, from its beginning";
  EXPECT_EQ(latents_with({}), base);
}

// Eight at once, of any kind; what a slot has room for beyond their ranks is never multiplied.
TEST_F(Swaps, EightAdaptersCostTheSumOfTheirRanks) {
  std::vector<AdapterChoice> eight = {{low_rank_, {0.2f}}, {dora_, {0.5f}}, {full_, {0.2f}}, {kronecker_, {0.2f}}};
  for (int i = 0; i < 4; ++i) {
    const std::string name = "rank" + std::to_string(2 * i + 1);
    eight.push_back(
        {adapter_for(engine_.adapter_target(), name, 2 * i + 1).write(folder_ / (name + ".safetensors")), {0.1f}});
  }
  const auto expected = latents_with(eight);
  engine_.use_adapters(eight);
  size_t poisoned = 0;
  for (const AdapterTarget::Slot& slot : engine_.adapter_target().slots()) {
    const LoraOperand& operand = slot.slot->operand;
    if (!operand.defined()) continue;
    int64_t used = 0;
    for (int32_t i = 0; i < *operand.count.i32(); ++i) {
      const int32_t* segment = operand.segments.i32() + 4 * i;
      used = std::max<int64_t>(used, segment[0] + segment[1]);
    }
    const int64_t room = operand.a.size(0), in = operand.a.size(1);
    for (int64_t rank = used; rank < room; ++rank) {
      std::fill_n(operand.a.f32() + rank * in, in, NAN);
      for (int64_t row = 0; row < operand.b.size(0); ++row) operand.b.f32()[row * room + rank] = NAN;
      operand.scale.f32()[rank] = NAN;
      ++poisoned;
    }
  }
  EXPECT_GT(poisoned, 100u);
  EXPECT_EQ(engine_.generate(request()).latents.values, expected);
  std::ranges::reverse(eight);
  EXPECT_LT(relative_error(latents_with(eight), expected), 1e-4) << "only rounding depends on the order";
}

// Threads that share the engine: every picture is that of its own adapters alone, bitwise, whatever the others do.
TEST_F(Swaps, ThreadsGetThePicturesOfTheirOwnAdapters) {
  const std::vector<std::vector<AdapterChoice>> sets = {
      {},
      {{low_rank_}},
      {{attention_, {-0.5f}}, {dora_}},
      {{full_, {.scale = 0.5f, .steps = {0.0, 0.6}}}, {attention_}},
      {{kronecker_}, {low_rank_, {.scale = 0.5f, .merge = true}}},
      {{low_rank_, {.scale = 1.0f, .steps = {0.4, 1.0}}}, {dora_, {0.5f}}},
  };
  std::vector<std::vector<uint8_t>> alone;
  for (const auto& set : sets) alone.push_back(engine_.generate_with(set, request()).image.rgb);
  std::atomic<int> wrong = 0, pictures = 0, refused = 0;
  std::atomic<bool> done = false;
  const auto make_pictures = [&](uint64_t seed) {
    Rng rng(seed);
    for (int i = 0; i < 40; ++i) {
      const auto which = static_cast<size_t>(rng.below(static_cast<int64_t>(sets.size())));
      wrong += engine_.generate_with(sets[which], request()).image.rgb != alone[which];
      ++pictures;
    }
  };
  const auto disturb = [&] {  // swaps at random, and asks for what cannot be
    Rng rng(99);
    while (!done) {
      engine_.use_adapters(sets[static_cast<size_t>(rng.below(static_cast<int64_t>(sets.size())))]);
      try {
        engine_.use_adapters({{low_rank_}, {folder_ / "broken.safetensors"}});
      } catch (const Error&) { ++refused; }
      try {
        engine_.generate_with({{full_, {NAN}}}, request());
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
  EXPECT_EQ(engine_.generate_with({}, request()).image.rgb, alone[0]);
}

}  // namespace
}  // namespace fx::test
