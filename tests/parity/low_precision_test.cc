// The CUDA back-end in bf16 and e4m3 against the reference, which gets the same rounded values in f32: the shared
// cases, and those that only such a back-end has. Skipped where there is no GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "core/buffer.h"
#include "core/dtype.h"
#include "parity/cuda_case.h"
#include "parity/low_precision_cases.h"
#include "parity/quantized.h"
#include "support/back_ends.h"
#include "support/random.h"

namespace fx::test {
namespace {

class CudaLowPrecision : public ::testing::TestWithParam<OpCase> {
 protected:
  void SetUp() override {
    if (!why_missing("cuda").empty()) GTEST_SKIP() << why_missing("cuda");
  }
};

TEST_P(CudaLowPrecision, Reference) { expect_parity(GetParam(), cuda_ops(), Values::narrow); }
TEST_P(CudaLowPrecision, AllocatesOnce) { expect_allocates_once(GetParam(), cuda_ops(), Values::narrow); }
TEST_P(CudaLowPrecision, GraphEqualsCall) { expect_graph_equals_call(GetParam(), cuda_ops(), Values::narrow); }

INSTANTIATE_TEST_SUITE_P(Ops, CudaLowPrecision, ::testing::ValuesIn(narrow_cases()), case_test_name);

// The same answers where the card can do less.
class CudaLimited : public CudaLowPrecision {};

TEST_P(CudaLimited, Reference) {
  static const std::unique_ptr<Ops> ops = limited_cuda_ops();
  expect_parity(GetParam(), *ops, Values::narrow);
}

INSTANTIATE_TEST_SUITE_P(Ops, CudaLimited, ::testing::ValuesIn(low_precision_cases()), case_test_name);
INSTANTIATE_TEST_SUITE_P(Fronts, CudaLimited, ::testing::ValuesIn(front_cases()), case_test_name);
INSTANTIATE_TEST_SUITE_P(Attention, CudaLimited, ::testing::ValuesIn(attention_cases()), case_test_name);

int capability() {
  int major = 0;
  EXPECT_EQ(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), cudaSuccess);
  return major;
}

// Rounding to bf16 alone costs less than half a percent; what is below that has not been in e4m3.
TEST(CudaAttention, IsInE4m3WhereTheCardHasIt) {
  if (!why_missing("cuda").empty()) GTEST_SKIP() << why_missing("cuda");
  const OpCase c = e4m3_attention_case();
  RefOps<double> reference;
  const CaseRun run(c, cuda_ops(), Values::narrow), truth(c, reference, Values::widened);
  const double found = relative_error(run.operands.owned("o"), truth.operands.owned("o"));
  EXPECT_LT(found, 0.08);
  if (capability() == 9) { EXPECT_GT(found, 0.005); }
}

// The result with the means in it is the one without, plus them, rounded once; and each row of the one without is in e4m3
// already.
TEST(CudaAttention, LeavesTheMeanOfTheValuesToItsReader) {
  if (!why_missing("cuda").empty()) GTEST_SKIP() << why_missing("cuda");
  constexpr int64_t kBatch = 2, kTokens = 333, kHeads = 3, kHead = 128, kHidden = kHeads * kHead;
  Ops& ops = cuda_ops();
  Runtime& runtime = ops.runtime();
  const Shape shape{kBatch, kTokens, kHeads, kHead};
  std::vector<float> values(static_cast<size_t>(3 * shape.count()));
  Rng("attention").fill_normal(values, 1, 1);
  std::vector<uint16_t> bits(values.size());
  convert_from_f32(values.data(), DType::bf16, bits.data(), bits.size());
  const Buffer qkv(runtime, DType::bf16, {3, shape.count()}), whole(runtime, DType::bf16, shape),
      rest(runtime, DType::bf16, shape), mean(runtime, DType::bf16, {kBatch, kHeads, kHead});
  runtime.copy(qkv.tensor().raw(), bits.data(), 2 * bits.size(), CopyKind::host_to_device);
  const auto part = [&](int64_t i) { return qkv.tensor().slice(0, i, i + 1).reshape(shape); };
  AttentionArgs args{.q = part(0), .k = part(1), .v = part(2), .o = whole.tensor(), .bias = {}, .e4m3 = true};
  args.scale = 0.01f;
  ops.attention(args);
  args.o = rest.tensor(), args.o_mean = mean.tensor();
  ops.attention(args);
  const auto host = [&](const Buffer& buffer) {
    std::vector<uint16_t> narrow(static_cast<size_t>(buffer.tensor().count()));
    runtime.copy(narrow.data(), buffer.tensor().raw(), 2 * narrow.size(), CopyKind::device_to_host);
    runtime.synchronize();
    std::vector<float> wide(narrow.size());
    convert_to_f32(DType::bf16, narrow.data(), wide.data(), wide.size());
    return wide;
  };
  const std::vector<float> found = host(rest), means = host(mean), right = host(whole);
  std::vector<float> sums(found.size());
  for (size_t i = 0; i < sums.size(); ++i) {
    const size_t batch = i / static_cast<size_t>(kTokens * kHidden), channel = i % static_cast<size_t>(kHidden);
    sums[i] = found[i] + means[batch * static_cast<size_t>(kHidden) + channel];
  }
  EXPECT_EQ(Operands::rounded_to(DType::bf16, sums), right);
  if (capability() != 9) return;
  EXPECT_EQ(QuantizedRows(found, static_cast<size_t>(kHidden)).widened(), found);
  EXPECT_GT(*std::ranges::max_element(means), 0.5f);
}

// Zeros where attention is not in e4m3: in scratch memory anything may lie.
TEST(CudaAttention, WithoutE4m3LeavesNoMean) {
  if (!why_missing("cuda").empty()) GTEST_SKIP() << why_missing("cuda");
  const std::unique_ptr<Ops> ops = limited_cuda_ops();
  Runtime& runtime = ops->runtime();
  const Shape shape{1, 40, 2, 64};
  std::vector<uint16_t> bits(static_cast<size_t>(shape.count()));
  std::vector<float> values(bits.size());
  Rng("attention").fill_normal(values, 1, 1);
  convert_from_f32(values.data(), DType::bf16, bits.data(), bits.size());
  const Buffer x(runtime, DType::bf16, shape), o(runtime, DType::bf16, shape), mean(runtime, DType::bf16, {1, 2, 64});
  runtime.copy(x.tensor().raw(), bits.data(), 2 * bits.size(), CopyKind::host_to_device);
  runtime.copy(mean.tensor().raw(), bits.data(), static_cast<size_t>(mean.tensor().bytes()), CopyKind::host_to_device);
  AttentionArgs args{.q = x.tensor(), .k = x.tensor(), .v = x.tensor(), .o = o.tensor(), .bias = {}, .e4m3 = true};
  args.o_mean = mean.tensor();
  ops->attention(args);
  std::vector<uint16_t> found(static_cast<size_t>(mean.tensor().count()), 1);
  runtime.copy(found.data(), mean.tensor().raw(), 2 * found.size(), CopyKind::device_to_host);
  runtime.synchronize();
  EXPECT_EQ(found, std::vector<uint16_t>(found.size()));
}

}  // namespace
}  // namespace fx::test
