// Runs op cases on back-ends and compares what they wrote.
#pragma once

#include <gtest/gtest.h>

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

  CaseRun(const OpCase& c, Ops& ops) : operands(c.name) {
    c.make(operands);
    for (const auto& owned : operands.buffers()) before.push_back(owned.buffer.bytes());
    run_where(ops, operands, [&](const Operands& o) { c.run(ops, o); });
  }
  Bytes bytes(size_t i) const { return operands.buffers()[i].buffer.bytes(); }
};

inline void expect_untouched(const CaseRun& run) {
  for (size_t i = 0; i < run.before.size(); ++i) {
    const auto& owned = run.operands.buffers()[i];
    EXPECT_TRUE(owned.buffer.guards_intact()) << "written outside of " << owned.name;
    if (!owned.written) { EXPECT_EQ(run.before[i], run.bytes(i)) << "input changed: " << owned.name; }
  }
}

// Difference of what was written from the truth; other types than f32 must be equal.
inline Difference error(const CaseRun& run, const CaseRun& truth) {
  Difference d;
  for (size_t i = 0; i < truth.before.size(); ++i) {
    const auto& owned = truth.operands.buffers()[i];
    if (!owned.written) continue;
    const Tensor& actual = run.operands.buffers()[i].buffer.tensor();
    if (actual.dtype() != DType::f32) {
      EXPECT_EQ(run.bytes(i), truth.bytes(i)) << owned.name;
      continue;
    }
    const auto count = static_cast<size_t>(actual.count());
    compare({actual.f32(), count}, {owned.buffer.tensor().f32(), count}, d);
  }
  return d;
}

inline void expect_same_bits(const CaseRun& a, const CaseRun& b) {
  for (size_t i = 0; i < a.before.size(); ++i) {
    EXPECT_EQ(a.bytes(i), b.bytes(i)) << "not the same bits: " << a.operands.buffers()[i].name;
  }
}

// Twice the error of a naive f32 implementation is accepted, in the worst element and on average.
inline void expect_accurate(const OpCase& c, const CaseRun& run, const CaseRun& naive, const CaseRun& truth) {
  const Difference actual = error(run, truth), yardstick = error(naive, truth);
  // An absolute eps would be blind for small outputs and too strict for large ones.
  const double size = std::max(1.0, std::sqrt(truth.operands.buffers().empty() ? 0.0 : actual.truth_squares) /
                                        std::sqrt(std::max<double>(1.0, static_cast<double>(actual.compared))));
  EXPECT_LE(actual.max_abs, 2 * yardstick.max_abs + c.eps * size)
      << actual.describe() << "\nnaive: " << yardstick.describe();
  EXPECT_LE(actual.nmse(), 4 * yardstick.nmse() + c.eps * c.eps) << "naive nmse " << yardstick.nmse();
}

// A back-end against the reference: accuracy, bounds, inputs, and the same bits when called again.
inline void expect_parity(const OpCase& c, Ops& ops) {
  RefOps<double> reference;
  RefOps<float> naive;
  const CaseRun truth(c, reference), yardstick(c, naive), first(c, ops), second(c, ops);
  expect_untouched(truth);
  expect_untouched(first);
  expect_accurate(c, first, yardstick, truth);
  expect_same_bits(first, second);
}

inline std::string case_test_name(const ::testing::TestParamInfo<OpCase>& info) {
  std::string name = info.param.name;
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

}  // namespace fx::test
