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
    int64_t in, out;
  };
  constexpr int64_t H = 3072, M = 4 * H;
  std::string unknown;
  for (const auto& [in, out] : {Layer{H, 3 * H}, Layer{H, 3 * H + M}, Layer{H, H}, Layer{H, M}, Layer{M, H}, Layer{H + M, H}}) {
    for (const int64_t columns : {0, 128, 256, 384, 512}) {  // of its front
      for (const int64_t rows : {1, 2, 7, 16, 33, 64, 77, 128, 256, 300, 512, 1024, 1536, 4096, 4608, 5000, 9216, 18432}) {
        const int64_t k = in + columns;
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
