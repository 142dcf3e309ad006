// Runs op cases on back-ends and compares what they wrote.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "backends/reference/ref_ops.h"
#include "parity/device_operands.h"
#include "parity/op_case.h"
#include "support/compare.h"

namespace fx::test {

using Bytes = std::vector<uint8_t>;

// Runs a case on fresh operands and keeps every buffer.
struct CaseRun {
  Operands operands;
  std::vector<Bytes> before;

  CaseRun(const OpCase& c, Ops& ops, Values kind = Values::f32) : operands(c.name, kind) {
    c.make(operands);
    for (const auto& owned : operands.buffers()) before.push_back(owned.buffer.bytes());
    run_where(ops, operands, [&](const Operands& o) { c.run(ops, o); });
  }
  Bytes bytes(size_t i) const { return operands.buffers()[i].buffer.bytes(); }
  // As if everything that was written had been stored narrow.
  void round() {
    for (auto& owned : operands.buffers()) {
      if (owned.written) owned.round();
    }
  }
  bool writes_bf16() const {
    return std::ranges::any_of(operands.buffers(), [](const auto& o) { return o.written && o.narrow == DType::bf16; });
  }
};

inline void expect_untouched(const CaseRun& run) {
  for (size_t i = 0; i < run.before.size(); ++i) {
    const auto& owned = run.operands.buffers()[i];
    EXPECT_TRUE(owned.buffer.guards_intact()) << "written outside of " << owned.name;
    if (!owned.written) { EXPECT_EQ(run.before[i], run.bytes(i)) << "input changed: " << owned.name; }
  }
}

// Difference of what was written from the truth; other types than f32 and bf16 must be equal.
inline Difference error(const CaseRun& run, const CaseRun& truth) {
  Difference d;
  for (size_t i = 0; i < truth.before.size(); ++i) {
    const auto& owned = truth.operands.buffers()[i];
    if (!owned.written || owned.judged_by_case) continue;
    const auto& actual = run.operands.owned(owned.name);
    if (owned.buffer.tensor().dtype() != DType::f32) {
      EXPECT_EQ(actual.buffer.bytes(), truth.bytes(i)) << owned.name;
    } else {
      compare(actual.values(), owned.values(), d);
    }
  }
  return d;
}

inline void expect_same_bits(const CaseRun& a, const CaseRun& b) {
  for (size_t i = 0; i < a.before.size(); ++i) {
    EXPECT_EQ(a.bytes(i), b.bytes(i)) << "not the same bits: " << a.operands.buffers()[i].name;
  }
}

// Twice the error of a naive implementation is accepted, in the worst element and on average. What is wrong otherwise.
inline std::string inaccuracy(const OpCase& c, const CaseRun& run, const CaseRun& naive, const CaseRun& truth) {
  const Difference actual = error(run, truth), yardstick = error(naive, truth);
  const double rms = std::sqrt(actual.truth_squares / std::max<double>(1, static_cast<double>(actual.compared)));
  // An absolute eps would be blind for small outputs and too strict for large ones. The naive one may be lucky where
  // outputs are few: one rounding of a typical output to bf16 is always allowed.
  const double rounding = run.writes_bf16() ? 0x1p-9 : 0;
  const double worst = c.factor * yardstick.max_abs + c.eps * std::max(1.0, rms) + rounding * rms;
  const double mean = c.factor * c.factor * yardstick.nmse() + c.eps * c.eps + rounding * rounding / 4;
  if (actual.max_abs <= worst && actual.nmse() <= mean) return "";
  return fmt::format("{}\nallowed: max |error| {:.3e}, nmse {:.3e}\nnaive: {}", actual.describe(), worst, mean,
                     yardstick.describe());
}

// What the case says itself about its outputs.
inline std::string judgement(const OpCase& c, const CaseRun& run, const CaseRun& truth) {
  return c.judge ? c.judge(run.operands, truth.operands) : "";
}

// A back-end against the reference: accuracy, bounds, inputs, and the same bits when called again. Where values are
// narrow, the reference gets the same ones in f32.
inline void expect_parity(const OpCase& c, Ops& ops, Values kind = Values::f32) {
  const bool narrow = kind == Values::narrow;
  const Values wide = narrow ? Values::widened : Values::f32;
  RefOps<double> reference;
  RefOps<float> naive(narrow);
  const CaseRun truth(c, reference, wide), first(c, ops, kind), second(c, ops, kind);
  CaseRun yardstick(c, naive, wide);
  yardstick.round();
  expect_untouched(truth);
  expect_untouched(first);
  EXPECT_EQ(inaccuracy(c, first, yardstick, truth), "");
  EXPECT_EQ(judgement(c, first, truth), "");
  expect_same_bits(first, second);
}

inline void PrintTo(const OpCase& c, std::ostream* stream) { *stream << c.name; }

inline std::string case_test_name(const ::testing::TestParamInfo<OpCase>& info) {
  std::string name = info.param.name;
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

}  // namespace fx::test
