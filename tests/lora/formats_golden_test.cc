// A tiny file in every format, and what diffusers, PEFT or an independent derivation make of it
// (tools/reference/lora_formats.py): the change of every parameter.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "io/json_file.h"
#include "io/safetensors.h"
#include "lora/delta.h"
#include "lora/file/read.h"
#include "lora/patch_change.h"
#include "lora/tiny_model.h"

namespace fx::test {
namespace {

using ::testing::HasSubstr;

constexpr double kTolerance = 1e-6;  // of the parameter's largest change

std::filesystem::path golden() {
  return std::filesystem::path(FLUXSWAP_SOURCE_DIR) / "tests" / "data" / "golden" / "lora-formats";
}

using Values = std::map<std::string, std::vector<float>>;

Values read_values(const std::filesystem::path& path) {
  Values values;
  const auto source = open_safetensors(path);
  for (const TensorInfo& info : source->tensors()) {
    auto& target = values[info.name];
    target.resize(static_cast<size_t>(info.shape.count()));
    convert_to_f32(info.dtype, source->bytes(info).data(), target.data(), target.size());
  }
  return values;
}

// The name in the golden files: text encoders have their component in front.
std::string label(Component component, const std::string& parameter) {
  return component == Component::transformer ? parameter : fmt::format("{}/{}", name(component), parameter);
}

class Formats : public ::testing::TestWithParam<std::string> {
 protected:
  // What the adapter adds to each parameter at strength 1.
  Values changes(const Adapter& adapter) {
    Values total;
    for (const Patch& patch : adapter.patches) add(total, as_dense(patch));
    for (const DensePatch& patch : adapter.dense) add(total, patch);
    return total;
  }

  nlohmann::json entry() const { return read_json_file(golden() / "index.json").at(GetParam()); }

  TinyModel model_;

 private:
  void add(Values& total, const DensePatch& patch) {
    const Param* param = model_.target.find_parameter(patch.component, patch.parameter);
    ASSERT_NE(param, nullptr) << patch.parameter;
    const int64_t in = param->file_shape.rank() == 2 ? param->file_shape[1] : 1;
    const auto begin = static_cast<size_t>(patch.rows.begin * in), count = static_cast<size_t>(patch.rows.count * in);
    auto& whole = total[label(patch.component, patch.parameter)];
    whole.resize(static_cast<size_t>(param->tensor.count()));
    const auto base = base_.find(patch.parameter);
    const bool needs_base = patch.magnitude || patch.replaces;
    ASSERT_TRUE(!needs_base || base != base_.end()) << patch.parameter;
    std::vector<float> rows(count);
    if (needs_base) rows.assign(base->second.begin() + begin, base->second.begin() + begin + count);
    const std::vector<float> delta = effective_delta(patch, rows, in, 1.0f);
    ASSERT_EQ(delta.size(), count) << patch.parameter;
    for (size_t i = 0; i < count; ++i) whole[begin + i] += delta[i];
  }

  Values base_ = read_values(golden() / "base.safetensors");
};

TEST_P(Formats, ChangesEveryParameterAsTheReferenceDoes) {
  const nlohmann::json about = entry();
  const Adapter adapter = read_adapter(golden() / (GetParam() + ".safetensors"), model_.target);
  EXPECT_THAT(adapter.report.unmatched, ::testing::IsEmpty());
  if (about.contains("format")) { EXPECT_EQ(adapter.report.format, about["format"].get<std::string>()); }

  const Values expected = read_values(golden() / "expected" / (about["expected"].get<std::string>() + ".safetensors"));
  Values found = changes(adapter);
  for (const auto& [parameter, wanted] : expected) {
    const std::vector<float>& got = found[parameter];
    ASSERT_EQ(got.size(), wanted.size()) << parameter;
    double largest = 0, error = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      largest = std::max(largest, std::fabs(double{wanted[i]}));
      error = std::max(error, std::fabs(double{got[i]} - wanted[i]));
    }
    EXPECT_GT(largest, 0.01) << parameter;
    EXPECT_LE(error, kTolerance * largest) << parameter;
  }
  EXPECT_EQ(found.size(), expected.size());
}

std::vector<std::string> names() {
  std::vector<std::string> result;
  const nlohmann::json index = read_json_file(golden() / "index.json");
  for (const auto& item : index.items()) result.push_back(item.key());
  return result;
}

INSTANTIATE_TEST_SUITE_P(All, Formats, ::testing::ValuesIn(names()), [](const auto& info) {
  std::string name = info.param;
  std::ranges::replace_if(
      name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
  return name;
});

TEST(FormatsOfFusedLayers, KeepOneSharedDownMatrix) {
  TinyModel model;
  // The second has q, k and v apart, with equal A's; the third a different A for each, in one block-diagonal pair.
  for (const char* file : {"kohya.safetensors", "diffusers-alpha.safetensors", "kohya-block-diagonal.safetensors"}) {
    const Adapter adapter = read_adapter(golden() / file, model.target);
    int patches = 0;
    for (const Patch& patch : adapter.patches) {
      if (patch.module != "double_blocks.0.img_attn.qkv") continue;
      ++patches;
      EXPECT_EQ(patch.rows, (RowRange{0, 48}));
      EXPECT_EQ(patch.b.rows(), 48);
    }
    EXPECT_EQ(patches, 1) << file << ": q, k and v in one product";
  }
}

}  // namespace
}  // namespace fx::test
