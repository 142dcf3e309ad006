// Much memory on its way to a device and back, and rows that are rounded on the host as there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "backends/make_ops.h"
#include "core/buffer.h"
#include "core/parallel.h"
#include "core/quantize.h"
#include "core/upload.h"
#include "ops/ops.h"
#include "support/back_ends.h"
#include "support/random.h"

namespace fx::test {
namespace {

class CudaTransfer : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!why_missing("cuda").empty()) GTEST_SKIP() << why_missing("cuda");
    ops_ = make_cuda_ops();
  }
  Runtime& runtime() { return ops_->runtime(); }

  std::unique_ptr<Ops> ops_;
};

// More than goes at a time, no multiple of it, in several threads, beside memory for a large adapter.
TEST_F(CudaTransfer, MuchArrivesAndComesBack) {
  constexpr int64_t count = (int64_t{26} << 20) + 7;  // 104 MiB and some
  std::vector<int32_t> sent(count);
  std::iota(sent.begin(), sent.end(), 1);
  const Buffer memory(runtime(), DType::i32, {count});
  const auto pinned = [&] { return runtime().stage(8 * UploadLanes::kTransfer)->host(); };  // a large adapter's
  const std::byte* large = pinned();
  const int64_t rows = UploadLanes::rows_for(sizeof(int32_t));
  const auto transfers = static_cast<size_t>((count + rows - 1) / rows);
  UploadLanes lanes(runtime(), UploadLanes::kTransfer, 4 * count);
  const auto rows_of = [&](size_t i) {
    const int64_t begin = static_cast<int64_t>(i) * rows;
    return std::span(sent).subspan(static_cast<size_t>(begin), static_cast<size_t>(std::min(rows, count - begin)));
  };
  const auto fill = [&](size_t i, std::byte* target) {
    std::memcpy(target, rows_of(i).data(), rows_of(i).size_bytes());
    return rows_of(i).size_bytes();
  };
  const auto place = [&](size_t i, std::byte* arrived) {
    const auto begin = static_cast<int64_t>(i) * rows, size = static_cast<int64_t>(rows_of(i).size());
    ops_->copy({.x = Tensor(arrived, DType::i32, {size}), .y = memory.tensor().slice(0, begin, begin + size)});
  };
  lanes.run(transfers, fill, place);
  runtime().synchronize();
  parallel_for(6, [&](int64_t) {
    std::vector<int32_t> found(count);
    runtime().fetch(found.data(), memory.tensor().raw(), sizeof(int32_t) * count);
    EXPECT_TRUE(found == sent);
  });
  int32_t last = 0;
  runtime().fetch(&last, memory.tensor().slice(0, count - 1, count).raw(), sizeof(last));
  EXPECT_EQ(last, count);
  runtime().fetch(nullptr, nullptr, 0);
  EXPECT_EQ(pinned(), large) << "pieces have left it alone";
}

// With it, what is merged on the host is what the device would have made of the same values: also where rows leave room above.
TEST_F(CudaTransfer, TheHostRoundsRowsAsTheDevice) {
  if (!ops_->computes_in(DType::bf16)) GTEST_SKIP() << "nothing is computed in e4m3";
  constexpr int64_t rows = 64, in = 1000, stride = 1128;
  std::vector<float> x(rows * in);
  Rng rng("rows");
  for (int64_t row = 0; row < rows; ++row) {  // from nothing to what no scale of a normal number reaches
    const float size = row == 0 ? 0.0f : std::ldexp(1.0f, static_cast<int>(4 * row - 135));
    rng.fill_normal(std::span(x).subspan(static_cast<size_t>(row * in), in), size);
    x[static_cast<size_t>(row * in)] = row % 2 ? 448.0f * size : 0.0f;
  }
  const Buffer plain(runtime(), DType::f32, {rows, in}), all(runtime(), DType::f8_e4m3, {rows, stride}),
      scales(runtime(), DType::f32, {rows});
  runtime().copy(plain.tensor().raw(), x.data(), sizeof(float) * x.size(), CopyKind::host_to_device);
  runtime().fill_zero(all.tensor().raw(), rows * stride);
  for (const float largest : {448.0f, 14.0f}) {
    const Tensor y = all.tensor().slice(1, stride - in, stride);  // beside a front
    ops_->quantize_rows({.x = plain.tensor(), .y = y, .scale = scales.tensor(), .largest = largest});
    runtime().synchronize();
    std::vector<uint8_t> found(rows * stride), wanted(in);
    std::vector<float> found_scales(rows);
    runtime().fetch(found.data(), all.tensor().raw(), found.size());
    runtime().fetch(found_scales.data(), scales.tensor().raw(), sizeof(float) * rows);
    for (int64_t row = 0; row < rows; ++row) {
      EXPECT_EQ(quantize_row(x.data() + row * in, in, wanted.data(), largest), found_scales[static_cast<size_t>(row)]);
      EXPECT_TRUE(std::equal(wanted.begin(), wanted.end(), found.begin() + row * stride + stride - in))
          << "row " << row;
    }
  }
}

}  // namespace
}  // namespace fx::test
