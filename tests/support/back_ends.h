// The back-ends that tests take as a parameter.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "backends/make_ops.h"
#include "core/error.h"

namespace fx::test {

// Those that this build has.
inline std::vector<std::string> back_ends() {
  std::vector<std::string> names = {"reference", "cpu"};
  if (FLUXSWAP_TEST_CUDA) names.emplace_back("cuda");
  return names;
}

// Why a back-end cannot run on this machine; empty if it can.
inline const std::string& why_missing(const std::string& name) {
  static const std::string none, no_cuda = [] {
    try {
      make_cuda_ops();
      return std::string();
    } catch (const Error& error) { return std::string(error.what()); }
  }();
  return name == "cuda" ? no_cuda : none;
}

inline std::unique_ptr<Ops> ops_named(const std::string& name, int threads = 0) {
  if (name == "reference") return make_reference_ops();
  return name == "cuda" ? make_cuda_ops() : make_cpu_ops(threads);
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
