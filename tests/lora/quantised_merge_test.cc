// What is merged into parameters that the device has in e4m3 alone: from the values of the model's file, and rounded once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "core/quantize.h"
#include "lora/patch_change.h"
#include "lora/random_adapter.h"
#include "lora/tiny_model.h"
#include "support/expect_error.h"

namespace fx::test {
namespace {

using ::testing::HasSubstr;

struct Bits {
  std::vector<std::byte> memory;  // rows as far apart as they lie, with the front between them
  std::vector<float> scales;
  bool operator==(const Bits&) const = default;
};

// With fronts beside the weights of the blocks, whose rows are then not dense.
class QuantisedMerge : public ::testing::TestWithParam<int64_t> {
 protected:
  QuantisedMerge() : model_({.block_linear = DType::f8_e4m3, .modulation = DType::f8_e4m3, .lora_ranks = GetParam()}) {
    for (const Param& param : model_.flux_params.params()) {
      if (!param.scale.defined()) continue;
      std::vector<float>& values = file_[param.name];
      values.resize(static_cast<size_t>(param.file_shape.count()));
      Rng("file " + param.name).fill_normal(values, 0.2f);
      if (param.front.defined()) std::memset(param.front.raw(), 0x2a, static_cast<size_t>(param.front.size(1)));
      quantise(values, param, param.tensor, param.scale);
    }
    target_.add(Component::transformer, model_.flux_names, model_.flux_params,
                [this](const Param& param, const RowRange& rows) {
                  const std::vector<float>& values = file_.at(param.name);
                  const int64_t in = param.file_shape[1];
                  return std::vector(values.begin() + rows.begin * in, values.begin() + (rows.begin + rows.count) * in);
                });
    slots_.emplace(target_);
    swap_.emplace(*model_.ops, *slots_);
  }

  void quantise(const std::vector<float>& values, const Param& param, const Tensor& y, const Tensor& scale) {
    Buffer plain(model_.ops->runtime(), DType::f32, param.file_shape);
    upload(*model_.ops, values, plain.tensor());
    model_.ops->quantize_rows({.x = plain.tensor(), .y = y, .scale = scale, .largest = param.largest()});
  }
  Bits bits(const Param& param) {
    const auto* first = param.tensor.data<const std::byte>();
    const int64_t bytes = (param.tensor.size(0) - 1) * param.tensor.stride(0) + param.tensor.size(1);
    return {{first, first + bytes}, download(*model_.ops, param.scale)};
  }
  std::map<std::string, Bits> all_bits() {
    std::map<std::string, Bits> all;
    for (const auto& [name, values] : file_) all[name] = bits(*target_.find_parameter(Component::transformer, name));
    return all;
  }
  std::shared_ptr<const Adapter> dense(const std::string& name) {
    return RandomAdapter(target_, name).dense(1.0f).make();
  }

  TinyModel model_;
  std::map<std::string, std::vector<float>> file_;
  AdapterTarget target_;
  std::optional<AdapterSlots> slots_;
  std::optional<HotSwap> swap_;
};

INSTANTIATE_TEST_SUITE_P(Fronts, QuantisedMerge, ::testing::Values(0, 16));

TEST_P(QuantisedMerge, IsRoundedOnceFromTheFilesValues) {
  const auto a = dense("a"), b = dense("b");
  for (int i = 0; i < 3; ++i) {  // merging again starts from the file, not from what is merged
    swap_->apply({{a, {0.5f + static_cast<float>(i)}}, {b, {-1.0f}}});
    for (const auto& [name, values] : file_) {
      const Param& param = *target_.find_parameter(Component::transformer, name);
      const int64_t in = param.file_shape[1];
      std::vector<float> wanted = values;
      const auto add = [&](const Adapter& adapter, float strength) {
        for (const DensePatch& patch : adapter.dense) {
          if (patch.parameter != name) continue;
          const int64_t first = patch.rows.begin * in;
          const auto base = std::span(values).subspan(first, patch.rows.count * in);
          const std::vector<float> delta = effective_delta(patch, base, in, strength);
          for (size_t k = 0; k < delta.size(); ++k) wanted[first + k] += delta[k];
        }
      };
      add(*a, 0.5f + static_cast<float>(i));
      add(*b, -1.0f);
      const Bits found = bits(param);
      quantise(wanted, param, param.tensor, param.scale);
      EXPECT_EQ(found, bits(param)) << name;
    }
  }
}

TEST_P(QuantisedMerge, TheBaseComesBackBitForBit) {
  const auto before = all_bits();
  swap_->apply({{dense("a")}});
  for (const auto& [name, found] : all_bits()) EXPECT_NE(found, before.at(name)) << name;
  size_t bytes = 0;
  for (const Param& param : model_.flux_params.params()) {
    bytes += param.scale.defined() ? param.file_shape.count() + 4 * param.file_shape[0] : param.base().bytes();
  }
  EXPECT_EQ(swap_->memory().base_bytes, bytes) << "one byte for each value, and four for each row";
  const SwapReport report = swap_->apply({});
  EXPECT_GE(report.params_restored, file_.size());
  EXPECT_EQ(all_bits(), before);
  swap_->apply({{dense("b")}});
  swap_.reset();
  EXPECT_EQ(all_bits(), before);
}

TEST_P(QuantisedMerge, WithoutAFileItIsRefusedAndChangesNothing) {
  const auto a = dense("a");
  const auto before = all_bits();
  EXPECT_THAT(error_of(ErrorCode::unsupported, [&] { model_.swap->apply({{a}}); }), HasSubstr("no file to merge from"));
  EXPECT_EQ(all_bits(), before);
}

// More rows than one thread takes, and more than one transfer holds.
TEST(QuantisedMergeOfMuch, AllRowsArrive) {
  const auto ops = make_reference_ops();
  ParamStore store(ops->runtime(), {.block_linear = DType::f8_e4m3});
  constexpr int64_t rows = 650, in = 30001;  // no whole words
  const Param& param = store.declare("x.weight", {rows, in}, ParamLayout::as_stored, ParamRole::block_linear);
  NameMap names = vae_name_map(parameter_names(store));
  AdapterTarget target;
  target.add(Component::transformer, names, store, [](const Param&, const RowRange& wanted) {
    return std::vector<float>(static_cast<size_t>(wanted.count * in), 1.0f);
  });
  Adapter adapter{.name = "a"};
  std::vector<float> by_row(rows);
  for (int64_t i = 0; i < rows; ++i) by_row[static_cast<size_t>(i)] = static_cast<float>(i % 100);
  adapter.dense.push_back({.parameter = "x.weight", .rows = {0, rows}});
  adapter.dense.back().delta =
      KroneckerDelta{Matrix::of(rows, 1, by_row), Matrix::of(1, in, std::vector<float>(in, 1.0f))};
  MergedParams params(*ops, target);
  MergedSet set;
  const AdapterSet adapters = {{std::make_shared<Adapter>(adapter)}};
  for (auto& [parameter, parts] : parts_of(adapters, {true}, target).parameters) set[parameter].parts = parts;
  const size_t bytes = rows * in + rows * sizeof(float);
  EXPECT_EQ(params.more_bytes(set), 2 * bytes);
  for (auto& [parameter, merged] : set) merged.base = params.base(parameter);
  MergedValues values;
  values[0] = merged_values(set.at(0), target.parameters()[0]);
  const size_t copied = params.publish(*params.prepare(values, set), MergedSet(set));
  EXPECT_GE(copied, bytes);
  EXPECT_LT(copied, bytes + 2 * sizeof(float)) << "but for what aligns the scales of two transfers";
  EXPECT_EQ(params.bytes(), bytes);
  const std::vector<float> scales = download(*ops, param.scale);
  for (int64_t i = 0; i < rows; ++i) {
    const auto* row = param.tensor.data<const uint8_t>() + i * in;
    std::vector<uint8_t> wanted(in);
    ASSERT_EQ(scales[static_cast<size_t>(i)],
              quantize_row(std::vector<float>(in, 1.0f + by_row[static_cast<size_t>(i)]).data(), in, wanted.data()));
    ASSERT_TRUE(std::equal(wanted.begin(), wanted.end(), row)) << "row " << i;
  }
}

}  // namespace
}  // namespace fx::test
