// Exact properties of operations, and the errors that only a back-end can see.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>

#include "backends/cpu/kernels/kernels.h"
#include "parity/device_operands.h"
#include "parity/lora_operand.h"
#include "parity/op_case.h"
#include "support/back_ends.h"
#include "support/expect_error.h"

namespace fx::test {
namespace {

class BackEnd : public BackEndTest<std::string> {
 protected:
  void SetUp() override {
    BackEndTest::SetUp();
    if (!IsSkipped()) ops_ = ops_named(GetParam(), 2);
  }
  // Runs where the back-end's memory is, and waits.
  void run(Operands& o, const std::function<void(const Operands&)>& action) { run_where(*ops_, o, action); }

  std::unique_ptr<Ops> ops_;
};
INSTANTIATE_TEST_SUITE_P(All, BackEnd, ::testing::ValuesIn(back_ends()), [](const auto& info) { return info.param; });

TEST_P(BackEnd, KnowsItsName) { EXPECT_EQ(ops_->backend_name(), GetParam()); }

// Operands of a linear layer with an adapter.
struct Adapted {
  Operands o{"adapted"};
  explicit Adapted(int64_t rows, int32_t count = 2, float deviation_of_b = 1) {
    o.input("x", {1, rows, 40});
    o.input("weight", {70, 40});
    o.input("bias", {70});
    make_lora(o, {.capacity = 16, .in = 40, .segments = {0, 4, 0, 70, 8, 3, 10, 30}, .deviation = deviation_of_b});
    *o["count"].i32() = count;
    o.output("y", {1, rows, 70});
  }
  std::vector<uint8_t> run(Ops& ops, bool adapter) {
    run_where(ops, o, [&](const Operands& d) {
      LinearArgs args{.x = d["x"],
                      .weight = d["weight"],
                      .bias = d["bias"],
                      .lora = {},
                      .outputs = {{{d["y"], Activation::gelu_tanh}}},
                      .gate = {}};
      if (adapter) args.lora = lora_operand(d, 70);
      ops.linear(args);
    });
    return o.buffers().back().buffer.bytes();
  }
};

TEST_P(BackEnd, AdapterWithBZeroEqualsNoneBitwise) {
  for (const int64_t rows : {1, 3, 50}) {
    const auto none = Adapted(rows, 0).run(*ops_, false);
    EXPECT_EQ(Adapted(rows, 0).run(*ops_, true), none);
    EXPECT_EQ(Adapted(rows, 2, 0).run(*ops_, true), none);
  }
}

TEST_P(BackEnd, AdapterIsWhatItsSegmentsUse) {
  for (const int64_t rows : {1, 3, 50}) {
    Adapted spoilt(rows), clean(rows);
    for (const char* name : {"a", "b", "scale"}) {
      const Tensor& t = clean.o[name];
      EXPECT_TRUE(std::isnan(t.f32()[t.count() - 1])) << name;
      for (int64_t i = 0; i < t.count(); ++i) {
        if (std::isnan(t.f32()[i])) t.f32()[i] = 1;
      }
    }
    EXPECT_EQ(spoilt.run(*ops_, true), clean.run(*ops_, true));
    for (int64_t i = 0; i < rows * 70; ++i) EXPECT_TRUE(std::isfinite(spoilt.o["y"].f32()[i])) << i;
  }
}

TEST_P(BackEnd, RefusesBrokenSlots) {
  Adapted many(4, 5);
  EXPECT_THAT(error_of(ErrorCode::internal, [&] { many.run(*ops_, true); }),
              ::testing::HasSubstr("5 LoRA segments, expected 0 to 4"));
  // The second segment, one thing wrong each: its numbers are 8, 3, 10, 30 and 576, where b has 816 elements.
  const std::array<int32_t, 5> broken[] = {{4, 3, 10, 30, 576},  {16, 3, 10, 30, 576}, {-8, 3, 10, 30, 576},
                                           {8, -3, 10, 30, 576}, {8, 3, 41, 30, 576},  {8, 3, -1, 30, 576},
                                           {8, 3, 10, -1, 576},  {8, 3, 10, 30, 584},  {8, 3, 10, 30, 572},
                                           {8, 3, 10, 30, -8},   {8, 3, 10, 31, 576},  {8, 9, 10, 15, 8}};
  for (const auto& numbers : broken) {
    Adapted outside(4);
    ASSERT_EQ(outside.o["b"].count(), 816);
    std::ranges::copy(numbers, outside.o["segments"].i32() + 5);
    EXPECT_THAT(error_of(ErrorCode::internal, [&] { outside.run(*ops_, true); }),
                ::testing::HasSubstr(fmt::format(
                    "LoRA segment of ranks [{}, +{}) and rows [{}, +{}) is outside of slots of 16 ranks, 70 rows",
                    numbers[0], numbers[1], numbers[2], numbers[3])));
  }
}

TEST(CpuBackEnd, TakesNoMeanApart) {
  Operands o("mean");
  o.input("x", {1, 2, 8});
  o.input("mean", {1, 8});
  o.input("weight", {4, 8});
  o.output("y", {1, 2, 4});
  EXPECT_THAT(error_of(ErrorCode::unsupported,
                       [&] {
                         make_cpu_ops()->linear({.x = o["x"],
                                                 .x_scale = {},
                                                 .x_mean = o["mean"],
                                                 .weight = o["weight"],
                                                 .weight_scale = {},
                                                 .bias = {},
                                                 .lora = {},
                                                 .outputs = {{{o["y"]}}},
                                                 .gate = {}});
                       }),
              ::testing::HasSubstr("[linear] the back-end cpu takes no mean of x apart"));
}

TEST_P(BackEnd, RefusesStepsOutsideOfTheTable) {
  Operands o("steps");
  o.in_out("x", {1, 2, 8});
  o.input("table", {3, 1, 8});
  o.input("sigmas", {4});
  for (const int32_t bad : {3, -1}) {
    o.integers("step", {1}, {bad});
    const auto modulate = [&](const Operands& d) {
      const StepVector rows{d["table"], d["step"]};
      ops_->ln_modulate({.x = d["x"], .shift = rows, .scale = rows, .y = d["x"]});
    };
    const auto euler = [&](const Operands& d) {
      ops_->euler_step({.sample = d["x"], .velocity = d["x"], .sigmas = d["sigmas"], .step = d["step"]});
    };
    EXPECT_THAT(error_of(ErrorCode::internal, [&] { run(o, modulate); }),
                ::testing::HasSubstr(fmt::format("step {} is outside of a table of 3 steps", bad)));
    EXPECT_THAT(error_of(ErrorCode::internal, [&] { run(o, euler); }),
                ::testing::HasSubstr(fmt::format("[euler_step] step {} of a schedule of 3 steps", bad)));
  }
}

TEST_P(BackEnd, RefusesIdsOutsideOfTheTable) {
  Operands o("ids");
  o.input("table", {5, 4});
  o.output("y", {1, 1, 4});
  for (const int32_t bad : {5, -1}) {
    o.integers("ids", {1, 1}, {bad});
    const auto embed = [&](const Operands& d) {
      ops_->embed_rows({.ids = d["ids"], .table = d["table"], .y = d["y"]});
    };
    EXPECT_THAT(error_of(ErrorCode::internal, [&] { run(o, embed); }),
                ::testing::HasSubstr(fmt::format("[embed_rows] id {} is outside of a table of 5 rows", bad)));
  }
}

TEST_P(BackEnd, RoundsPixelsToEven) {
  Operands o("pixels");
  const float values[] = {-1, 1, 0, 2, -2, 1.0f / 255, 3.0f / 255, -1 + 1.0f / 255, NAN};
  const Tensor& x = o.input("x", {1, 1, 3, 3});
  std::copy_n(values, 9, x.f32());
  const Tensor& y = o.output("y", {1, 1, 3, 3}, DType::u8);
  run(o, [&](const Operands& d) { ops_->to_rgb8({.x = d["x"], .y = d["y"]}); });
  const std::vector<uint8_t> expected = {0, 255, 128, 255, 0, 128, 129, 0, 0};
  EXPECT_EQ(std::vector<uint8_t>(y.data<uint8_t>(), y.data<uint8_t>() + 9), expected);
}

TEST_P(BackEnd, UnpackUndoesPack) {
  Operands o("latents");
  o.input("latents", {1, 4, 6, 3});
  o.output("packed", {1, 6, 12});
  o.output("back", {1, 4, 6, 3});
  run(o, [&](const Operands& d) {
    ops_->pack_latents({.packed = d["packed"], .latents = d["latents"], .scaling = 0.5f, .shift = 0.25f});
    ops_->unpack_latents({.packed = d["packed"], .latents = d["back"], .scaling = 0.5f, .shift = 0.25f});
  });
  for (int64_t i = 0; i < 72; ++i) EXPECT_NEAR(o["back"].f32()[i], o["latents"].f32()[i], 1e-6f);
  // token (0, 1) of channel 2 holds the pixels (0..1, 2..3)
  EXPECT_FLOAT_EQ(o["packed"].f32()[1 * 12 + 2 * 4 + 1], (o["latents"].f32()[(0 * 6 + 3) * 3 + 2] - 0.25f) * 0.5f);
  EXPECT_FLOAT_EQ(o["packed"].f32()[1 * 12 + 2 * 4 + 2], (o["latents"].f32()[(1 * 6 + 2) * 3 + 2] - 0.25f) * 0.5f);
}

TEST(ReferenceBackEnd, LaysZerosIntoFrontsWithoutAnAdapter) {
  Operands o("front");
  const Tensor wide = o.output("wide", {6, 12}, DType::f8_e4m3);
  std::memset(wide.raw(), 1, 72);
  o.output("down", {4, 8}, DType::f8_e4m3);
  o.output("column_scale", {4});
  make_reference_ops()->fold_lora({.lora = {},
                                   .weight_scale = o.input("weight_scale", {6}),
                                   .weight_front = wide.slice(1, 0, 4),
                                   .weight_down = o["down"],
                                   .column_scale = o["column_scale"],
                                   .room = {},
                                   .reach = {}});
  const auto *down = o["down"].data<uint8_t>(), *row = wide.data<uint8_t>() + 12;
  EXPECT_EQ(std::vector<uint8_t>(down, down + 32), std::vector<uint8_t>(32, 0));
  EXPECT_EQ(std::vector<uint8_t>(row, row + 12), (std::vector<uint8_t>{0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1}));
  EXPECT_EQ(o["column_scale"].f32()[3], 0);
}

TEST(CpuBackEnd, RefusesNegativeThreads) {
  EXPECT_THAT(error_of(ErrorCode::invalid_argument, [] { make_cpu_ops(-1); }), ::testing::HasSubstr("found -1"));
}

TEST(CpuBackEnd, NamesTheCureOnOldProcessors) {
  EXPECT_EQ(best_instruction_set({.avx2 = true, .avx512 = false}), InstructionSet::avx2);
  EXPECT_EQ(best_instruction_set({.avx2 = true, .avx512 = true}), InstructionSet::avx512);
  EXPECT_THAT(error_of(ErrorCode::unsupported, [] { best_instruction_set({.avx2 = false, .avx512 = false}); }),
              ::testing::HasSubstr("needs a processor with AVX2"));
}

}  // namespace
}  // namespace fx::test
