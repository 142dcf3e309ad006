// What is recorded at one step must hold for every step: the contract on which graph capture rests.
#include <gtest/gtest.h>

#include "backends/make_ops.h"
#include "ops/recording_ops.h"
#include "parity/lora_operand.h"
#include "parity/op_case.h"

namespace fx::test {
namespace {

// A miniature step of a transformer: modulated norm, gated residual with an adapter, sampling step.
void make_step(Operands& o) {
  o.in_out("sample", {2, 9, 16});
  o.output("normed", {2, 9, 16});
  o.in_out("velocity", {2, 9, 16});
  o.input("table", {4, 2, 3 * 16});
  o.input("weight", {16, 16}, 0.25f);
  make_lora(o, {.capacity = 16, .in = 16, .segments = {0, 3, 0, 16, 8, 5, 4, 8}});
  o.input("sigmas", {5});
  o.output("step", {1}, DType::i32);
  *o["step"].i32() = 0;
}

void run_step(Ops& ops, const Operands& o) {
  const auto rows = [&](int64_t i) { return StepVector{o["table"].slice(2, 16 * i, 16 * (i + 1)), o["step"]}; };
  ops.ln_modulate({.x = o["sample"], .shift = rows(0), .scale = rows(1), .y = o["normed"]});
  ops.linear({.x = o["normed"],
              .weight = o["weight"],
              .bias = {},
              .lora = lora_operand(o, 16),
              .outputs = {{{o["velocity"], Activation::gelu_tanh}}},
              .add = true,
              .gate = rows(2)});
  ops.euler_step({.sample = o["sample"], .velocity = o["velocity"], .sigmas = o["sigmas"], .step = o["step"]});
  ops.advance_step({.step = o["step"]});
}

std::vector<uint8_t> bytes_of(const Operands& o, size_t i) { return o.buffers()[i].buffer.bytes(); }

void expect_equal(const Operands& a, const Operands& b) {
  for (size_t i = 0; i < a.buffers().size(); ++i) EXPECT_EQ(bytes_of(a, i), bytes_of(b, i)) << a.buffers()[i].name;
}

// Another adapter arrives in the slots between two steps.
void swap_adapter(const Operands& o) {
  for (int64_t i = 0; i < o["b"].count(); ++i) o["b"].f32()[i] *= -2;
  *o["count"].i32() = 1;
}

void check_replay(Ops& inner) {
  Operands direct("step"), replayed("step");
  make_step(direct);
  make_step(replayed);
  RecordingOps recorder(inner);
  recorder.start_recording();
  run_step(recorder, replayed);
  recorder.stop_recording();
  EXPECT_EQ(recorder.recorded_calls(), 4u);
  run_step(inner, direct);
  expect_equal(direct, replayed);
  for (int step = 1; step < 4; ++step) {
    if (step == 2) swap_adapter(direct), swap_adapter(replayed);
    recorder.replay();
    run_step(inner, direct);
    expect_equal(direct, replayed);
  }
  EXPECT_EQ(*replayed["step"].i32(), 4);
}

TEST(RecordingOps, ReplaysOtherStepsAndAdaptersOnReference) { check_replay(*make_reference_ops()); }
TEST(RecordingOps, ReplaysOtherStepsAndAdaptersOnCpu) { check_replay(*make_cpu_ops(2)); }

TEST(RecordingOps, ReadsAnotherTableRowAtAnotherStep) {
  const auto inner = make_reference_ops();
  Operands o("step");
  make_step(o);
  RecordingOps recorder(*inner);
  recorder.start_recording();
  const StepVector rows{o["table"].slice(2, 0, 16), o["step"]};
  recorder.ln_modulate({.x = o["sample"], .shift = rows, .scale = rows, .y = o["normed"]});
  const auto at_step_0 = bytes_of(o, 1);
  *o["step"].i32() = 3;
  recorder.replay();
  EXPECT_NE(bytes_of(o, 1), at_step_0);
  *o["step"].i32() = 0;
  recorder.replay();
  EXPECT_EQ(bytes_of(o, 1), at_step_0);
}

TEST(RecordingOps, RecordsOnlyBetweenStartAndStop) {
  const auto inner = make_reference_ops();
  Operands o("step");
  make_step(o);
  RecordingOps recorder(*inner);
  EXPECT_EQ(recorder.backend_name(), "reference");
  EXPECT_EQ(&recorder.runtime(), &inner->runtime());
  recorder.advance_step({.step = o["step"]});
  EXPECT_EQ(recorder.recorded_calls(), 0u);
  recorder.start_recording();
  recorder.advance_step({.step = o["step"]});
  recorder.stop_recording();
  recorder.advance_step({.step = o["step"]});
  EXPECT_EQ(recorder.recorded_calls(), 1u);
  recorder.replay();
  EXPECT_EQ(*o["step"].i32(), 4);
  recorder.start_recording();
  EXPECT_EQ(recorder.recorded_calls(), 0u);
}

// Every operation: replayed on restored operands, it does again what it did.
class Recording : public ::testing::TestWithParam<OpCase> {};

TEST_P(Recording, ReplayEqualsCall) {
  const OpCase& c = GetParam();
  const auto inner = make_cpu_ops(2);
  RecordingOps recorder(*inner);
  Operands called(c.name);
  c.make(called);
  std::vector<std::vector<uint8_t>> before, after;
  for (size_t i = 0; i < called.buffers().size(); ++i) before.push_back(bytes_of(called, i));
  recorder.start_recording();
  c.run(recorder, called);
  recorder.stop_recording();
  for (size_t i = 0; i < before.size(); ++i) {
    after.push_back(bytes_of(called, i));
    if (!before[i].empty()) std::memcpy(called.buffers()[i].buffer.tensor().raw(), before[i].data(), before[i].size());
  }
  recorder.replay();
  for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(bytes_of(called, i), after[i]) << called.buffers()[i].name;
}

std::vector<OpCase> one_case_of_each_operation() {
  std::vector<OpCase> chosen;
  std::string last;
  for (OpCase& c : test_cases()) {
    const std::string op = c.name.substr(0, c.name.find('/'));
    if (op != last) chosen.push_back(c);
    last = op;
  }
  return chosen;
}

INSTANTIATE_TEST_SUITE_P(Ops, Recording, ::testing::ValuesIn(one_case_of_each_operation()));

}  // namespace

void PrintTo(const OpCase& c, std::ostream* stream) { *stream << c.name; }

}  // namespace fx::test
