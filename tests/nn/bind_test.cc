// Strict binding: exact values when all is well, and one message with everything that is wrong when it is not.
#include "nn/bind.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "io/safetensors.h"
#include "nn/layers.h"
#include "support/temp_folder.h"

namespace fx {
namespace {

// A module of two linears, a fused one with two sources and one with exchanged halves, and a convolution.
class BindTest : public ::testing::Test {
 protected:
  BindTest() : runtime_(make_host_runtime()), store_(*runtime_) {
    fused_ = store_.declare("fused.weight", {4, 3});
    swapped_ = store_.declare("swapped.bias", {4});
    conv_ = store_.declare("conv.weight", {2, 3, 2, 2}, ParamLayout::channels_last);
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
    if (is_floating(dtype)) convert_from_f32(values.data(), dtype, buffer.tensor().raw(), values.size());
    else runtime_->fill_zero(buffer.tensor().raw(), static_cast<size_t>(buffer.tensor().bytes()));
  }

  void bind() {
    std::map<std::string, Tensor> tensors;
    for (const auto& [name, buffer] : data_) tensors[name] = buffer.tensor();
    write_safetensors(folder_.path() / "model.safetensors", tensors);
    bind_params(store_, *open_safetensors(folder_.path() / "model.safetensors"), names_, "part");
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
  std::unique_ptr<Runtime> runtime_;
  ParamStore store_;
  NameMap names_;
  Tensor fused_, swapped_, conv_;
  std::map<std::string, Buffer> data_;
};

TEST_F(BindTest, PutsEveryValueInItsPlace) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    data_.clear();
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

}  // namespace
}  // namespace fx
