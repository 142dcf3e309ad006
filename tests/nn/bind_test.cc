// Strict binding: exact values when all is well, and one message with everything that is wrong when it is not.
#include "nn/bind.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <mutex>
#include <numeric>
#include <set>

#include "backends/make_ops.h"
#include "core/error.h"
#include "io/safetensors.h"
#include "nn/layers.h"
#include "nn/taps.h"
#include "support/expect_error.h"
#include "support/temp_folder.h"

namespace fx {
namespace {

// A module of two linears, a fused one with two sources and one with exchanged halves, and a convolution.
class BindTest : public ::testing::Test {
 protected:
  BindTest() : runtime_(&ops_->runtime()), store_(*runtime_) {
    fused_ = store_.declare("fused.weight", {4, 3}).tensor;
    swapped_ = store_.declare("swapped.bias", {4}).tensor;
    conv_ = store_.declare("conv.weight", {2, 3, 2, 2}, ParamLayout::channels_last).tensor;
    names_.add_module("to_a", {"fused", {0, 1}, false});
    names_.add_module("to_b", {"fused", {1, 3}, false});
    names_.add_module("fused", {"fused", {}, false});
    names_.add_module("swap", {"swapped", {}, true});
    names_.add_module("conv", {"conv", {}, false});
    names_.ignore_suffix("position_ids");
    add("to_a.weight", {1, 3});
    add("to_b.weight", {3, 3});
    add("swap.bias", {4});
    add("conv.weight", {2, 3, 2, 2});
  }

  void add(const std::string& name, const Shape& shape, DType dtype = DType::f32) {
    auto& buffer = data_[name] = Buffer(*runtime_, dtype, shape);
    std::vector<float> values(static_cast<size_t>(shape.count()));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) + 0.5f;
    if (dtype == DType::f64) std::ranges::copy(values, buffer.tensor().data<double>());
    else if (is_floating(dtype)) convert_from_f32(values.data(), dtype, buffer.tensor().raw(), values.size());
    else runtime_->fill_zero(buffer.tensor().raw(), static_cast<size_t>(buffer.tensor().bytes()));
  }

  void bind() {
    std::map<std::string, Tensor> tensors;
    for (const auto& [name, buffer] : data_) tensors[name] = buffer.tensor();
    write_safetensors(folder_.path() / "model.safetensors", tensors);
    bind_params(*ops_, store_, *open_safetensors(folder_.path() / "model.safetensors"), names_, "part");
  }

  std::string message() {
    try {
      bind();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_file);
      return error.what();
    }
    return "no error";
  }

  fx::test::TempFolder folder_;
  std::unique_ptr<Ops> ops_ = make_reference_ops();
  Runtime* runtime_;
  ParamStore store_;
  NameMap names_;
  Tensor fused_, swapped_, conv_;
  std::map<std::string, Buffer> data_;
};

TEST_F(BindTest, PutsEveryValueInItsPlace) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
    data_.clear();
    for (const Tensor& t : {fused_, swapped_, conv_}) runtime_->fill_zero(t.raw(), static_cast<size_t>(t.bytes()));
    add("to_a.weight", {1, 3}, dtype);
    add("to_b.weight", {3, 3}, dtype);
    add("swap.bias", {4}, dtype);
    add("conv.weight", {2, 3, 2, 2}, dtype);
    add("position_ids", {5}, DType::i64);
    bind();
    EXPECT_EQ(std::vector<float>(fused_.f32(), fused_.f32() + 12),
              (std::vector<float>{0.5, 1.5, 2.5, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5}));
    EXPECT_EQ(std::vector<float>(swapped_.f32(), swapped_.f32() + 4), (std::vector<float>{2.5, 3.5, 0.5, 1.5}));
    // File (o, i, y, x) is memory (o, y, x, i).
    for (int o = 0; o < 2; ++o) {
      for (int i = 0; i < 3; ++i) {
        for (int t = 0; t < 4; ++t) {
          EXPECT_EQ(conv_.f32()[(o * 4 + t) * 3 + i], static_cast<float>((o * 3 + i) * 4 + t) + 0.5f);
        }
      }
    }
  }
}

TEST_F(BindTest, ReadsATiedWeightFromWhicheverNameIsThere) {
  names_.add_tied("copy.bias", "swap.bias");
  add("copy.bias", {4});
  bind();  // both are there: the copy is not read
  data_.erase("swap.bias");
  runtime_->fill_zero(swapped_.raw(), 16);
  bind();
  EXPECT_EQ(std::vector<float>(swapped_.f32(), swapped_.f32() + 4), (std::vector<float>{2.5, 3.5, 0.5, 1.5}));
}

TEST_F(BindTest, ListsAllProblemsAtOnce) {
  data_.erase("swap.bias");
  add("to_a.weight", {1, 4});
  add("stranger.weight", {2});
  const std::string text = message();
  for (const char* part : {"part: ", "missing swapped.bias (4)", "to_a.weight: expected (1, 3), found (1, 4)",
                           "unexpected stranger.weight", "3 problems"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in: " << text;
  }
}

TEST_F(BindTest, RefusesHalfAFusedWeight) {
  data_.erase("to_b.weight");
  EXPECT_NE(message().find("missing rows of fused.weight: 1 of 4 found"), std::string::npos);
}

TEST_F(BindTest, RefusesAWeightStoredTwice) {
  add("fused.weight", {4, 3});
  EXPECT_NE(message().find("stored more than once"), std::string::npos);
}

TEST_F(BindTest, RefusesIntegers) {
  add("swap.bias", {4}, DType::i32);
  EXPECT_NE(message().find("expected a floating type, found i32"), std::string::npos);
}

// Tensors in memory, made as they are asked for; what happens to them is counted.
class MadeUp final : public TensorSource {
 public:
  void add(const std::string& name, DType dtype, const Shape& shape, std::vector<std::byte> bytes) {
    infos_.push_back({name, dtype, shape, total_, total_ + bytes.size()});
    total_ += bytes.size();
    data_.push_back(std::move(bytes));
  }
  // Values that bf16 holds exactly: whole numbers of 7 bits, other ones in each row.
  void add_counting(const std::string& name, DType dtype, const Shape& shape) {
    const int64_t columns = shape.count() / shape[0];
    std::vector<std::byte> bytes(static_cast<size_t>(shape.count()) * size_of(dtype));
    for (int64_t row = 0; row < shape[0]; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        const float value = counting(row, column);
        const auto at = static_cast<size_t>(row * columns + column) * size_of(dtype);
        convert_from_f32(&value, dtype, bytes.data() + at, 1);
      }
    }
    add(name, dtype, shape, std::move(bytes));
  }
  static float counting(int64_t row, int64_t column) { return static_cast<float>((37 * row + column) % 127 - 63); }

  const std::vector<TensorInfo>& tensors() const override { return infos_; }
  const TensorInfo* find(std::string_view name) const override {
    const auto found = std::ranges::find(infos_, name, &TensorInfo::name);
    return found == infos_.end() ? nullptr : &*found;
  }
  std::span<const std::byte> bytes(const TensorInfo& info) const override {
    if (++reads_ > fails_after) fail(ErrorCode::bad_file, "the disk is gone");
    return data_[index(info)];
  }
  void release(const TensorInfo& info) const noexcept override {
    const std::lock_guard lock(mutex_);
    released.insert(info.name);
  }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  const std::filesystem::path& path() const override { return path_; }
  size_t total() const { return total_; }

  int fails_after = 1 << 30;
  mutable std::set<std::string> released;

 private:
  size_t index(const TensorInfo& info) const { return static_cast<size_t>(&info - infos_.data()); }
  std::vector<TensorInfo> infos_;
  std::vector<std::vector<std::byte>> data_;
  std::map<std::string, std::string> metadata_;
  std::filesystem::path path_ = "made up";
  size_t total_ = 0;
  mutable std::atomic<int> reads_ = 0;
  mutable std::mutex mutex_;
};

// Parameters that take many transfers each: rows of 5 MiB and of more than a whole transfer, in halves that are exchanged
// and in parts of which another thread has the rest.
class BindLarge : public ::testing::TestWithParam<DType> {
 protected:
  static constexpr int64_t kColumns = 1'300'003, kWide = 4'200'001;
  void SetUp() override {
    names_.add_module("plain", {"plain", {}, false});
    names_.add_module("first", {"parts", {0, 3}, false});
    names_.add_module("second", {"parts", {3, 4}, false});
    names_.add_module("halves", {"halves", {}, true});
    names_.add_module("wide", {"wide", {}, false});
    plain_ = store_.declare("plain.weight", {7, kColumns}).tensor;
    parts_ = store_.declare("parts.weight", {7, kColumns}).tensor;
    halves_ = store_.declare("halves.weight", {6, kColumns}).tensor;
    wide_ = store_.declare("wide.weight", {2, kWide}).tensor;
    source_.add_counting("plain.weight", GetParam(), {7, kColumns});
    source_.add_counting("first.weight", GetParam(), {3, kColumns});
    source_.add_counting("second.weight", GetParam(), {4, kColumns});
    source_.add_counting("halves.weight", GetParam(), {6, kColumns});
    source_.add_counting("wide.weight", GetParam(), {2, kWide});
  }
  // Rows of `t` from `first` on are those of a file's tensor.
  static void expect_rows(const Tensor& t, int64_t first, int64_t count, int64_t file_first) {
    const int64_t columns = t.size(1);
    int64_t wrong = 0;
    for (int64_t row = 0; row < count; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        wrong += t.f32()[(first + row) * columns + column] != MadeUp::counting(file_first + row, column);
      }
    }
    EXPECT_EQ(wrong, 0) << "rows from " << first << " on";
  }

  std::unique_ptr<Ops> ops_ = make_reference_ops();
  ParamStore store_{ops_->runtime()};
  NameMap names_;
  MadeUp source_;
  Tensor plain_, parts_, halves_, wide_;
};

TEST_P(BindLarge, TravelsInPiecesAndSaysHowFarItIs) {
  std::vector<size_t> reports;
  bind_params(*ops_, store_, source_, names_, "part", [&](size_t bytes) { reports.push_back(bytes); });
  expect_rows(plain_, 0, 7, 0);
  expect_rows(parts_, 0, 3, 0);
  expect_rows(parts_, 3, 4, 0);
  expect_rows(halves_, 0, 3, 3);
  expect_rows(halves_, 3, 3, 0);
  expect_rows(wide_, 0, 2, 0);
  EXPECT_GT(reports.size(), source_.tensors().size());
  EXPECT_EQ(std::ranges::adjacent_find(reports, std::greater_equal<>()), reports.end()) << "each is more than the last";
  EXPECT_EQ(reports.back(), source_.total());
  for (const char* name : {"plain.weight", "first.weight", "second.weight", "wide.weight"}) {
    EXPECT_TRUE(source_.released.contains(name)) << name;
  }
}

TEST_P(BindLarge, ThrowsWhatAThreadRunsInto) {
  source_.fails_after = 4;
  const std::string text =
      fx::test::error_of(ErrorCode::bad_file, [&] { bind_params(*ops_, store_, source_, names_, "part"); });
  EXPECT_THAT(text, testing::HasSubstr("the disk is gone"));
}

INSTANTIATE_TEST_SUITE_P(Types, BindLarge, testing::Values(DType::f32, DType::bf16),
                         [](const auto& info) { return std::string(name(info.param)); });

// A transformer's types: quantised block weights with masters beside them, quantised modulation.
class BindQuantised : public ::testing::Test {
 protected:
  // Quantised whole, in one call.
  std::pair<std::vector<float>, std::vector<float>> quantised(const std::vector<float>& values, const Shape& shape) {
    const Buffer x(ops_->runtime(), DType::f32, shape), y(ops_->runtime(), DType::f8_e4m3, shape);
    const Buffer scale(ops_->runtime(), DType::f32, {shape[0]});
    upload(*ops_, values, x.tensor());
    ops_->quantize_rows({.x = x.tensor(), .y = y.tensor(), .scale = scale.tensor()});
    return {download(*ops_, y.tensor()), download(*ops_, scale.tensor())};
  }

  std::unique_ptr<Ops> ops_ = make_reference_ops();
  ParamStore store_{ops_->runtime(), {.block_linear = DType::f8_e4m3, .modulation = DType::f8_e4m3, .masters = true}};
};

TEST_F(BindQuantised, QuantisesAndKeepsMasters) {
  const Param& block = store_.declare("block.weight", {9, 33}, ParamLayout::as_stored, ParamRole::block_linear);
  const Param& modulation = store_.declare("mod.weight", {6, 5}, ParamLayout::as_stored, ParamRole::modulation);
  const Param& plain = store_.declare("plain.weight", {4, 5});
  ASSERT_TRUE(block.scale.defined() && block.master.defined() && modulation.scale.defined());
  EXPECT_FALSE(modulation.master.defined() || plain.scale.defined() || plain.master.defined());
  EXPECT_TRUE(modulation.weight_only() && !block.weight_only());
  NameMap names;
  names.add_module("a", {"block", {0, 4}, false});
  names.add_module("b", {"block", {4, 5}, false});
  names.add_module("mod", {"mod", {}, true});
  names.add_module("plain", {"plain", {}, false});
  MadeUp source;
  source.add_counting("a.weight", DType::f16, {4, 33});
  source.add_counting("b.weight", DType::f32, {5, 33});
  source.add_counting("mod.weight", DType::f16, {6, 5});
  source.add_counting("plain.weight", DType::bf16, {4, 5});
  bind_params(*ops_, store_, source, names, "part");

  std::vector<float> expected, expected_mod;
  for (const int64_t count : {4, 5}) {
    for (int64_t i = 0; i < count * 33; ++i) expected.push_back(MadeUp::counting(i / 33, i % 33));
  }
  for (const int64_t row : {3, 4, 5, 0, 1, 2}) {
    for (int64_t column = 0; column < 5; ++column) expected_mod.push_back(MadeUp::counting(row, column));
  }
  EXPECT_EQ(download(*ops_, block.master), expected);
  const auto [values, scale] = quantised(expected, {9, 33});
  EXPECT_EQ(download(*ops_, block.tensor), values);
  EXPECT_EQ(download(*ops_, block.scale), scale);
  const auto [mod_values, mod_scale] = quantised(expected_mod, {6, 5});
  EXPECT_EQ(download(*ops_, modulation.tensor), mod_values);
  EXPECT_EQ(download(*ops_, modulation.scale), mod_scale);
  EXPECT_EQ(plain.tensor.f32()[7], MadeUp::counting(1, 2));
}

// Rows with a front lie apart, and what was in their memory is gone.
TEST_F(BindQuantised, WeightsWithFrontsLeaveRoomForAdapters) {
  ParamStore store(ops_->runtime(), {.block_linear = DType::f8_e4m3, .lora_ranks = 37});
  const Param& one = store.declare("one.weight", {16, 48}, ParamLayout::as_stored, ParamRole::block_linear);
  const Param& fused = store.declare("fused.weight", {32, 16}, ParamLayout::as_stored, ParamRole::block_linear, 4);
  const Param& plain = store.declare("plain.weight", {4, 5}, ParamLayout::as_stored, ParamRole::plain, 4);
  EXPECT_EQ(one.front.shape(), Shape({16, 128})) << "whole lines of memory";
  EXPECT_EQ(fused.front.shape(), Shape({32, 256})) << "five steps of 8 for each part";
  EXPECT_FALSE(plain.front.defined());
  EXPECT_EQ(one.tensor.shape(), Shape({16, 48}));
  EXPECT_EQ(one.tensor.raw(), one.front.data<uint8_t>() + 128);
  EXPECT_EQ(one.tensor.stride(0), 128 + 48);
  EXPECT_EQ(one.down.shape(), Shape({128, 48}));
  EXPECT_EQ(fused.down.shape(), Shape({256, 16}));
  std::memset(one.front.raw(), 0x7f, 16 * (128 + 48));
  std::memset(one.down.raw(), 0x7f, 128 * 48);
  NameMap names;
  for (const char* name : {"one", "fused", "plain"}) names.add_module(name, {name, {}, false});
  MadeUp source;
  source.add_counting("one.weight", DType::f16, {16, 48});
  source.add_counting("fused.weight", DType::f16, {32, 16});
  source.add_counting("plain.weight", DType::f32, {4, 5});
  bind_params(*ops_, store, source, names, "part");
  std::vector<float> expected, widened;
  for (int64_t i = 0; i < 16 * 48; ++i) expected.push_back(MadeUp::counting(i / 48, i % 48));
  const auto [values, scale] = quantised(expected, {16, 48});
  for (const float value : values) widened.push_back(value / 32);
  const std::vector<float> found = download(*ops_, one.tensor), scales = download(*ops_, one.scale);
  for (size_t i = 0; i < found.size(); ++i) {
    if (std::abs(widened[i]) >= 0x1p-6f) { ASSERT_EQ(found[i], widened[i]) << i; }
    ASSERT_NEAR(found[i], widened[i], 0x1p-10f) << i;
  }
  for (size_t i = 0; i < scales.size(); ++i) EXPECT_EQ(scales[i], scale[i] * 32);
  EXPECT_EQ(download(*ops_, one.front), std::vector<float>(16 * 128));
  EXPECT_EQ(download(*ops_, fused.front), std::vector<float>(32 * 256));
  std::memset(one.front.raw(), 0x7f, 16 * (128 + 48));
  fill_random(*ops_, store, 1);
  for (const Tensor& t : {one.tensor, one.front, one.down, fused.tensor, fused.front, fused.down}) {
    EXPECT_TRUE(std::ranges::all_of(download(*ops_, t), [](float v) { return std::isfinite(v); }));
  }
  EXPECT_EQ(download(*ops_, one.front), std::vector<float>(16 * 128));
}

// Random weights are for measurements: nothing may be left out, and the work has to be that of real ones.
TEST_F(BindQuantised, RandomWeightsAreFiniteDifferentAndRepeatable) {
  store_.declare("block.weight", {40, 64}, ParamLayout::as_stored, ParamRole::block_linear);
  store_.declare("other.weight", {40, 64}, ParamLayout::as_stored, ParamRole::block_linear);
  store_.declare("mod.weight", {40, 16}, ParamLayout::as_stored, ParamRole::modulation);
  store_.declare("mod.bias", {40});
  store_.declare("norm.scale", {64});
  store_.declare("conv.weight", {8, 4, 3, 3}, ParamLayout::channels_last);
  const auto all = [&] {
    std::vector<std::vector<float>> values;
    for (const Param& param : store_.params()) {
      for (const Tensor& t : {param.tensor, param.scale, param.master}) {
        if (t.defined()) values.push_back(download(*ops_, t));
      }
    }
    return values;
  };
  const auto deviation = [](const std::vector<float>& values, double mean) {
    double sum = 0;
    for (const float value : values) sum += (value - mean) * (value - mean);
    return std::sqrt(sum / static_cast<double>(values.size()));
  };
  fill_random(*ops_, store_, 1);
  const auto first = all();
  for (const auto& values : first) EXPECT_TRUE(std::ranges::all_of(values, [](float v) { return std::isfinite(v); }));
  for (const Param& param : store_.params()) {
    for (const Tensor& t : {param.tensor, param.master}) {  // scales, powers of two, may be alike
      if (!t.defined()) continue;
      const std::vector<float> values = download(*ops_, t);
      EXPECT_GT(std::set<float>(values.begin(), values.end()).size(), values.size() / 20) << param.name << ": all alike";
    }
  }
  const Param &block = store_.params()[0], &other = store_.params()[1];
  const std::vector<float> master = download(*ops_, block.master);
  EXPECT_NEAR(deviation(master, 0), 1.0 / 8, 0.02);
  EXPECT_NEAR(deviation(download(*ops_, store_.params()[4].tensor), 1), 0.1, 0.04);
  EXPECT_NE(master, download(*ops_, other.master)) << "two layers of one size";
  const auto [values, scale] = quantised(master, {40, 64});
  EXPECT_EQ(download(*ops_, block.tensor), values);
  EXPECT_EQ(download(*ops_, block.scale), scale);
  fill_random(*ops_, store_, 2);
  EXPECT_NE(all(), first);
  fill_random(*ops_, store_, 1);
  EXPECT_EQ(all(), first);
}

}  // namespace
}  // namespace fx
