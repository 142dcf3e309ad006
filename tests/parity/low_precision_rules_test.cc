// What the tests of bf16 and e4m3 rest on, without a GPU: that the cases are valid calls, that the reference keeps the
// rules, and that mistakes break them.
#include <gtest/gtest.h>

#include "parity/case_run.h"
#include "parity/low_precision_cases.h"
#include "support/dry_ops.h"

namespace fx::test {
namespace {

class Narrow : public ::testing::TestWithParam<OpCase> {};
INSTANTIATE_TEST_SUITE_P(Ops, Narrow, ::testing::ValuesIn(narrow_cases()), case_test_name);

TEST_P(Narrow, IsAValidCall) {
  RefOps<float> memory;
  DryOps ops(memory);
  const CaseRun run(GetParam(), ops, Values::narrow);
  EXPECT_GT(ops.calls(), 0);
}

// Rounding alone passes; a wrong element does not, and neither does everything a little too large.
TEST_P(Narrow, RuleSeesMistakes) {
  const OpCase& c = GetParam();
  RefOps<double> reference;
  RefOps<float> naive(true);
  const CaseRun truth(c, reference, Values::widened);
  CaseRun yardstick(c, naive, Values::widened), best(c, reference, Values::widened);
  yardstick.round(), best.round();
  EXPECT_EQ(inaccuracy(c, best, yardstick, truth), "");
  EXPECT_EQ(judgement(c, best, truth), "");
  for (size_t i = 0; i < truth.before.size(); ++i) {
    auto& owned = best.operands.buffers()[i];
    if (!owned.written || owned.judged_by_case || owned.buffer.tensor().dtype() != DType::f32) continue;
    float* y = owned.buffer.tensor().f32();
    const std::vector<float> right = owned.values();
    const auto size = [](float v) { return std::isfinite(v) ? std::abs(v) : 0.0f; };
    const auto largest = std::ranges::max_element(right, {}, size);
    if (largest == right.end() || size(*largest) == 0) continue;
    y[largest - right.begin()] *= 1.05f;
    EXPECT_NE(inaccuracy(c, best, yardstick, truth), "") << owned.name;
    for (size_t k = 0; k < right.size(); ++k) y[k] = right[k] * 1.02f;
    EXPECT_NE(inaccuracy(c, best, yardstick, truth), "") << owned.name;
    std::copy(right.begin(), right.end(), y);
  }
}

// Except for what the operation rounds itself, both forms hold the same numbers.
TEST_P(Narrow, FormsAgree) {
  Operands narrow(GetParam().name, Values::narrow), widened(GetParam().name, Values::widened);
  GetParam().make(narrow), GetParam().make(widened);
  for (const auto& owned : narrow.buffers()) {
    if (!is_floating(owned.buffer.tensor().dtype()) || owned.name.ends_with("_scale") || owned.judged_by_case) continue;
    const bool rounded_later = owned.name == "wide" || owned.name == "weight" || owned.name == "x";
    const Difference d = compare(owned.values(), widened.owned(owned.name).values());
    if (!rounded_later) { EXPECT_EQ(d.max_abs, 0) << owned.name; }
  }
}

const OpCase& merge_case(const std::string& name) {
  static const std::vector<OpCase> cases = merge_cases();
  return *std::ranges::find(cases, "merge_lora/" + name, &OpCase::name);
}

void copy_rows(const CaseRun& run, const std::string& from, const std::string& to) {
  for (const char* part : {"", "_scale"}) {
    const Tensor &x = run.operands.owned(from + part).buffer.tensor(),
                 &y = run.operands.owned(to + part).buffer.tensor();
    std::memcpy(y.raw(), x.raw(), static_cast<size_t>(x.bytes()));
  }
}

TEST(MergeRules, SeeWhatHasNotBeenMerged) {
  RefOps<double> reference;
  for (const char* name : {"one", "slice", "weak"}) {
    const CaseRun truth(merge_case(name), reference, Values::widened),
        run(merge_case(name), reference, Values::widened);
    copy_rows(run, "base8", "weight");
    EXPECT_NE(judgement(merge_case(name), run, truth), "") << name;
  }
}

// A small difference added to rounded weights mostly vanishes.
TEST(MergeRules, SeeWhatWasMergedIntoRoundedWeights) {
  RefOps<double> reference;
  const OpCase& c = merge_case("weak");
  const CaseRun truth(c, reference, Values::widened), run(c, reference, Values::widened);
  const std::vector<float> base = truth.operands.owned("base").values(),
                           right = truth.operands.owned("merged").values();
  const QuantizedRows rounded(base, 3072);
  std::vector<float> sum = rounded.widened();
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += right[i] - base[i];
  const QuantizedRows wrong(sum, 3072);
  std::ranges::copy(wrong.values, run.operands.owned("weight").buffer.tensor().data<uint8_t>());
  std::ranges::copy(wrong.scales, run.operands.owned("weight_scale").buffer.tensor().f32());
  EXPECT_NE(judgement(c, run, truth), "");
}

TEST(MergeRules, SeeRowsThatChangedWithoutReason) {
  RefOps<double> reference;
  const OpCase& c = merge_case("slice");
  const CaseRun truth(c, reference, Values::widened), run(c, reference, Values::widened);
  ++run.operands.owned("weight").buffer.tensor().data<uint8_t>()[5];
  EXPECT_NE(judgement(c, run, truth).find("row 0 has no segment"), std::string::npos);
}

TEST(QuantizeRules, SeeOneWrongBit) {
  RefOps<double> reference;
  const std::vector<OpCase> cases = merge_cases();
  const OpCase& c = cases.front();
  const CaseRun run(c, reference, Values::widened);
  EXPECT_EQ(judgement(c, run, run), "");
  --run.operands.owned("y").buffer.tensor().data<uint8_t>()[0];
  EXPECT_NE(judgement(c, run, run), "");
}

TEST(QuantizedRows, AreWhatTheReferenceMakes) {
  Operands o("rows");
  const Tensor &x = o.input("x", {9, 100}), &y = o.quantized_output("y", {9, 100});
  RefOps<double> reference;
  reference.quantize_rows({.x = x, .y = y, .scale = o["y_scale"]});
  const QuantizedRows rows(o.owned("x").values(), 100);
  EXPECT_TRUE(std::ranges::equal(rows.values, std::span(y.data<uint8_t>(), 900)));
  EXPECT_TRUE(std::ranges::equal(rows.scales, std::span(o["y_scale"].f32(), 9)));
}

TEST(QuantizedRows, AvoidTies) {
  std::vector<float> x = {448, 17, 19, 16, 0, -17, 0x1p-10f, 0x3p-10f};  // 17 is between 16 and 18
  avoid_ties(x, x.size());
  EXPECT_EQ(x[0], 448);
  EXPECT_EQ(x[1], 16.875f);
  EXPECT_EQ(x[3], 16);
  EXPECT_EQ(x[5], -16.875f);
  for (const float v : x) EXPECT_GT(distance_from_tie(v), 1e-5) << v;
  EXPECT_TRUE(is_nearest(17, 1, f32_to_f8_e4m3(16)));
  EXPECT_TRUE(is_nearest(17, 1, f32_to_f8_e4m3(18)));
  EXPECT_FALSE(is_nearest(17.001, 1, f32_to_f8_e4m3(16)));
}

}  // namespace
}  // namespace fx::test
