// The library has a kernel for every product in e4m3 that FLUX's layers ask for, with an adapter in front, at any number of
// rows (though not always with a bias): layers have no other way to take such an adapter along.
#include "backends/cuda/matmul.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "support/back_ends.h"

namespace fx::test {
namespace {

TEST(CudaMatmul, KnowsTheLayersOfFlux) {
  if (!why_missing("cuda").empty()) GTEST_SKIP() << why_missing("cuda");
  cuda::CudaRuntime runtime;
  cuda::Matmul matmul(runtime);
  if (!matmul.outer_vector_fp8()) GTEST_SKIP() << "no products of e4m3 with scales for each row";
  const Buffer memory(runtime, DType::f32, {64});
  const float* any = memory.tensor().f32();  // nothing is read
  struct Layer {
    int64_t in, out, parts;
  };
  constexpr int64_t H = 3072, M = 4 * H;
  std::string unknown;
  for (const auto& [in, out, parts] : {Layer{H, 3 * H, 3}, Layer{H, H, 1}, Layer{H, M, 1}, Layer{M, H, 1}, Layer{H + M, H, 1}}) {
    for (const int64_t ranks : {16, 32, 64, 128}) {
      for (const int64_t rows : {1, 2, 7, 16, 33, 64, 77, 128, 256, 300, 512, 1024, 1536, 4096, 4608, 5000, 9216, 18432}) {
        const int64_t k = in + ranks * parts;
        cuda::Product p{.m = rows, .n = out, .k = k, .x = any, .x_stride = k, .w = any, .w_stride = k};
        p.y = memory.tensor().raw();
        p.y_stride = out;
        p.type = DType::f8_e4m3;
        p.y_type = DType::bf16;
        p.x_scale = p.w_scale = any;
        if (!matmul.supports(p)) unknown += fmt::format("{} x {} x {}; ", rows, k, out);
      }
    }
  }
  EXPECT_EQ(unknown, "");
}

}  // namespace
}  // namespace fx::test
