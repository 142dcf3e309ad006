// The means that attention in e4m3 takes from its values, at widths and lengths that leave threads and blocks without work.
#include "backends/cuda/value_means.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "backends/cuda/device_runtime.h"
#include "core/buffer.h"
#include "core/dtype.h"
#include "support/back_ends.h"
#include "support/random.h"

namespace fx::test {
namespace {

struct Found {
  std::vector<float> means;  // (B, channels)
  float reach = 0;           // the largest
};

std::vector<float> widened(const std::vector<uint16_t>& bits) {
  std::vector<float> values(bits.size());
  convert_to_f32(DType::bf16, bits.data(), values.data(), values.size());
  return values;
}

// Values as a fused layer leaves them: the last third of rows of three times the channels.
class Values {
 public:
  Values(int64_t batch, int64_t tokens, int64_t channels)
      : batch_(batch), tokens_(tokens), channels_(channels), rows_(static_cast<size_t>(batch * tokens * 3 * channels)) {
    std::vector<float> values(rows_.size());
    Rng rng("values");
    rng.fill_normal(values, 1, 2);
    convert_from_f32(values.data(), DType::bf16, rows_.data(), values.size());
  }
  uint16_t& bits(int64_t b, int64_t token, int64_t channel) {
    return rows_[static_cast<size_t>(((b * tokens_ + token) * 3 + 2) * channels_ + channel)];
  }
  float at(int64_t b, int64_t token, int64_t channel) { return widened({bits(b, token, channel)})[0]; }
  Found found() const {
    static cuda::CudaRuntime runtime;
    const Buffer rows(runtime, DType::bf16, {batch_, tokens_, 3 * channels_}),
        means(runtime, DType::bf16, {batch_, channels_});
    const int64_t count = cuda::reach_count(batch_, channels_);
    const Buffer reach(runtime, DType::f32, {count});
    runtime.copy(rows.tensor().raw(), rows_.data(), 2 * rows_.size(), CopyKind::host_to_device);
    const Tensor v = rows.tensor().slice(2, 2 * channels_, 3 * channels_).reshape({batch_, tokens_, channels_ / 8, 8});
    cuda::find_means(v, means.tensor().data<__nv_bfloat16>(), reach.tensor().f32(), runtime.stream());
    std::vector<uint16_t> bits(static_cast<size_t>(batch_ * channels_));
    std::vector<float> farthest(static_cast<size_t>(count));
    runtime.copy(bits.data(), means.tensor().raw(), 2 * bits.size(), CopyKind::device_to_host);
    runtime.copy(farthest.data(), reach.tensor().raw(), 4 * farthest.size(), CopyKind::device_to_host);
    runtime.synchronize();
    return {widened(bits), *std::ranges::max_element(farthest)};
  }

 private:
  int64_t batch_, tokens_, channels_;
  std::vector<uint16_t> rows_;
};

TEST(CudaValueMeans, AreThoseOfEachChannel) {
  if (!why_missing("cuda").empty()) GTEST_SKIP() << why_missing("cuda");
  constexpr int64_t kBatch = 2;
  for (const int64_t channels : {8, 48, 72, 384}) {
    for (const int64_t tokens : {1, 5, 9, 333, 1200}) {
      Values values(kBatch, tokens, channels);
      const Found found = values.found();
      float reach = 0;
      for (int64_t b = 0; b < kBatch; ++b) {
        for (int64_t c = 0; c < channels; ++c) {
          const float mean = found.means[static_cast<size_t>(b * channels + c)];
          double sum = 0;
          for (int64_t t = 0; t < tokens; ++t) {
            sum += values.at(b, t, c);
            reach = std::max(reach, std::abs(values.at(b, t, c) - mean));
          }
          const double exact = sum / static_cast<double>(tokens);
          EXPECT_NEAR(mean, exact, std::abs(exact) / 256 + 1e-6)
              << channels << " channels, " << tokens << " tokens, " << c;
        }
      }
      EXPECT_EQ(found.reach, reach) << channels << " channels, " << tokens << " tokens";
      EXPECT_EQ(values.found().means, found.means);
    }
  }
}

// Wherever it is: each row is read.
TEST(CudaValueMeans, KeepWhatIsNotANumberToItsChannel) {
  if (!why_missing("cuda").empty()) GTEST_SKIP() << why_missing("cuda");
  constexpr uint16_t kNan = 0x7fc0, kInfinity = 0x7f80;
  for (const int64_t row : {0, 1, 127, 128, 149, 150, 600, 1199}) {
    Values values(1, 1200, 64);
    values.bits(0, row, 3) = kNan;
    values.bits(0, 1199 - row, 9) = kInfinity;
    const std::vector<float> means = values.found().means;
    for (size_t c = 0; c < means.size(); ++c)
      EXPECT_EQ(std::isfinite(means[c]), c != 3 && c != 9) << c << " at " << row;
  }
}

}  // namespace
}  // namespace fx::test
