// Adapters of many layers folded at once are those of each alone, bit for bit.
#include <gtest/gtest.h>

#include <deque>
#include <limits>
#include <vector>

#include "backends/cuda/cuda_ops.h"
#include "parity/cuda_case.h"
#include "support/back_ends.h"
#include "support/random.h"

namespace fx::test {
namespace {

constexpr int kLayers = 19;     // more than a launch takes
constexpr int kWithoutOne = 7;  // a layer without an adapter

// The layers of a model, on the device.
class FoldedLayers {
 public:
  explicit FoldedLayers(Runtime& runtime) : runtime_(runtime) {
    Rng rng("fold");
    for (int i = 0; i < kLayers; ++i) add(i, rng);
  }
  const FoldLorasArgs& args() const { return args_; }
  // All that folding writes.
  std::vector<uint8_t> written() const {
    std::vector<uint8_t> bytes;
    for (const Tensor& t : written_) {
      const size_t at = bytes.size();
      bytes.resize(at + static_cast<size_t>(t.bytes()));
      runtime_.copy(&bytes[at], t.raw(), static_cast<size_t>(t.bytes()), CopyKind::device_to_host);
      runtime_.synchronize();
    }
    return bytes;
  }

 private:
  void add(int i, Rng& rng) {
    const int64_t out = 16 * (3 + i % 4), in = 32 * (1 + i % 3), columns = 16 * (1 + i % 3);
    const int32_t ranks = 3 + i % 5;
    FoldLoraArgs layer;
    layer.weight_scale = given(rng, {out}, 1, 0.01f);
    layer.weight_front = written({out, columns}, DType::f8_e4m3, 0x11);
    layer.weight_down = written({columns, in}, DType::f8_e4m3, 0x11);
    layer.column_scale = written({columns}, DType::f32, 0x11);
    if (i != kWithoutOne) {
      const auto rows = static_cast<int32_t>(out);
      layer.lora.a = given(rng, {8, in}, 0, 0.1f, DType::bf16);
      layer.lora.b = given(rng, {out * lora_pitch(ranks)}, 0, 0.1f, DType::bf16);
      layer.lora.scale = given(rng, {8}, 1, 0.1f);
      layer.lora.segments = integers({1, 5}, {0, ranks, 0, rows, 0});
      layer.lora.count = integers({1}, {1});
      layer.lora.out = out;
      layer.room = written({1}, DType::f32, 0);
      const float most = std::numeric_limits<float>::infinity();
      runtime_.copy(layer.room.raw(), &most, sizeof(most), CopyKind::host_to_device);
      layer.reach = written({1}, DType::i32, 0);
    }
    runtime_.synchronize();
    args_.layers.push_back(layer);
  }
  Tensor memory(const Shape& shape, DType dtype) { return buffers_.emplace_back(runtime_, dtype, shape).tensor(); }
  Tensor given(Rng& rng, const Shape& shape, float mean, float deviation, DType dtype = DType::f32) {
    std::vector<float> values(static_cast<size_t>(shape.count()));
    rng.fill_normal(values, deviation, mean);
    std::vector<uint8_t> bytes(values.size() * size_of(dtype));
    convert_from_f32(values.data(), dtype, bytes.data(), values.size());
    return holding(memory(shape, dtype), bytes.data());
  }
  Tensor integers(const Shape& shape, const std::vector<int32_t>& values) {
    return holding(memory(shape, DType::i32), values.data());
  }
  Tensor written(const Shape& shape, DType dtype, uint8_t before) {
    const Tensor t = memory(shape, dtype);
    written_.push_back(t);
    return holding(t, std::vector<uint8_t>(static_cast<size_t>(t.bytes()), before).data());
  }
  Tensor holding(const Tensor& t, const void* bytes) {
    runtime_.copy(t.raw(), bytes, static_cast<size_t>(t.bytes()), CopyKind::host_to_device);
    runtime_.synchronize();
    return t;
  }

  Runtime& runtime_;
  std::deque<Buffer> buffers_;
  std::vector<Tensor> written_;
  FoldLorasArgs args_;
};

TEST(CudaFold, OfManyLayersIsThatOfEach) {
  if (!why_missing("cuda").empty()) GTEST_SKIP() << why_missing("cuda");
  Ops& ops = cuda_ops();
  const FoldedLayers together(ops.runtime()), alone(ops.runtime());
  const std::vector<uint8_t> before = together.written();
  ASSERT_EQ(alone.written(), before);
  ops.fold_loras(together.args());
  for (const FoldLoraArgs& layer : alone.args().layers) ops.fold_lora(layer);
  ops.runtime().synchronize();
  EXPECT_NE(alone.written(), before);
  EXPECT_EQ(together.written(), alone.written());
}

}  // namespace
}  // namespace fx::test
