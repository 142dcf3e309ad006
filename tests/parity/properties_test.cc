// Exact properties of operations, and the errors that only a back-end can see.
#include <gtest/gtest.h>

#include <cmath>

#include "backends/cpu/kernels/kernels.h"
#include "parity/device_operands.h"
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

// Operands of a linear layer with an adapter; b is 0 and count as asked.
struct Adapted {
  Operands o{"adapted"};
  explicit Adapted(int64_t rows, int32_t count) {
    o.input("x", {1, rows, 40});
    o.input("weight", {70, 40});
    o.input("bias", {70});
    o.input("a", {8, 40});
    o.input("b", {70, 8}, 0);
    o.input("scale", {8});
    o.integers("segments", {2, 4}, {0, 4, 0, 70, 4, 4, 10, 30});
    o.integers("count", {1}, {count});
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
      if (adapter) args.lora = {d["a"], d["b"], d["scale"], d["segments"], d["count"]};
      ops.linear(args);
    });
    return o.buffers().back().buffer.bytes();
  }
};

TEST_P(BackEnd, AdapterWithBZeroEqualsNoneBitwise) {
  for (const int64_t rows : {1, 3, 50}) {
    const auto none = Adapted(rows, 0).run(*ops_, false);
    EXPECT_EQ(Adapted(rows, 0).run(*ops_, true), none);
    EXPECT_EQ(Adapted(rows, 2).run(*ops_, true), none);
  }
}

TEST_P(BackEnd, RefusesBrokenSlots) {
  Adapted many(4, 3);
  EXPECT_THAT(error_of(ErrorCode::internal, [&] { many.run(*ops_, true); }),
              ::testing::HasSubstr("3 LoRA segments, expected 0 to 2"));
  Adapted outside(4, 2);
  outside.o["segments"].i32()[3] = 71;
  EXPECT_THAT(error_of(ErrorCode::internal, [&] { outside.run(*ops_, true); }),
              ::testing::HasSubstr("outside of slots of 8 ranks, 70 rows"));
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
