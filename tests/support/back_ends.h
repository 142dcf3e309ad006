// The back-ends that tests take as a parameter, and the ways in which they hold a model.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "backends/make_ops.h"
#include "core/error.h"
#include "support/capturing_ops.h"

namespace fx::test {

// Those that this build has.
inline std::vector<std::string> back_ends() {
  std::vector<std::string> names = {"reference", "cpu"};
  if (FLUXSWAP_TEST_CUDA) names.emplace_back("cuda");
  return names;
}

// Ways to hold a model: the back-end, the precision where it is not f32, and whether adapters are merged from masters, or
// lie in the fronts of weights.
// Those of the GPU record their steps; "cpu-captured" does as if.
inline std::vector<std::string> model_ways() {
  std::vector<std::string> names = {"cpu", "cpu-captured"};
  if (!FLUXSWAP_TEST_CUDA) return names;
  for (const char* way : {"cuda", "cuda-bf16", "cuda-fp8", "cuda-fp8-folded", "cuda-bf16-merged", "cuda-fp8-merged"})
    names.emplace_back(way);
  return names;
}
inline bool way_has(const std::string& way, std::string_view word) { return way.find(word) != std::string::npos; }
// Those whose layers carry adapters in their weights.
inline std::vector<std::string> merged_ways() {
  std::vector<std::string> ways = model_ways();
  std::erase_if(ways, [](const std::string& way) { return !way_has(way, "merged"); });
  return ways;
}
inline std::string back_end_of(const std::string& way) { return way.substr(0, way.find('-')); }

// For the names of tests, where only letters, digits and underscores go.
inline std::string way_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::ranges::replace(name, '-', '_');
  return name;
}

// FLUXSWAP_CAPABILITY_LIMIT: compute as an older card would (scripts/gpu/check.sh).
inline CudaOptions cuda_options() {
  CudaOptions options;
  if (const char* limit = std::getenv("FLUXSWAP_CAPABILITY_LIMIT")) options.capability_limit = std::stoi(limit);
  return options;
}

// Why a back-end or way cannot run on this machine; empty if it can.
inline const std::string& why_missing(const std::string& name) {
  static const std::string none, no_cuda = [] {
    try {
      make_cuda_ops();
      return std::string();
    } catch (const Error& error) { return std::string(error.what()); }
  }();
  return back_end_of(name) == "cuda" ? no_cuda : none;
}

inline std::unique_ptr<Ops> ops_named(const std::string& name, int threads = 0) {
  if (way_has(name, "captured")) return std::make_unique<CapturingOps>(make_cpu_ops(threads));
  if (back_end_of(name) == "reference") return make_reference_ops();
  return back_end_of(name) == "cuda" ? make_cuda_ops(cuda_options()) : make_cpu_ops(threads);
}

// Tests whose parameter is a back-end, or a tuple that begins with one: skipped where it cannot run.
template <class Parameter>
class BackEndTest : public ::testing::TestWithParam<Parameter> {
 protected:
  static std::string back_end(const std::string& name) { return name; }
  template <class... More>
  static std::string back_end(const std::tuple<std::string, More...>& parameter) {
    return std::get<0>(parameter);
  }
  void SetUp() override {
    const std::string& reason = why_missing(back_end(this->GetParam()));
    if (!reason.empty()) GTEST_SKIP() << reason;
  }
};

}  // namespace fx::test
