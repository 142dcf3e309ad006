// The demo model's adapters in the formats of all trainers: the same canonical tensors, and the same pictures.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "golden/golden_run.h"
#include "lora/file/read.h"
#include "lora/write/convert.h"
#include "support/adapter_formats.h"
#include "support/temp_folder.h"

namespace fx::test {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> demo_adapters() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(model_folder("demo") / "loras")) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

std::vector<float> latents_with(Engine& engine, const std::vector<AdapterChoice>& adapters) {
  engine.use_adapters(adapters);
  const Request request{
      .prompt = "a red star", .width = 64, .height = 64, .steps = 2, .seed = 5, .max_sequence_length = 24};
  return engine.generate(request).latents.values;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(static_cast<double>(a[i]) - b.at(i)));
  return largest;
}

class DemoAdapter : public ::testing::TestWithParam<fs::path> {};

TEST_P(DemoAdapter, IsTheSameInEveryFormat) {
  Engine& engine = engine_for("demo", "cpu");
  const AdapterTarget& target = engine.adapter_target();
  const DiffusersModules modules = to_diffusers(read_adapter(GetParam(), target), target);
  const std::vector<float> expected = latents_with(engine, {{GetParam(), {}}}), without = latents_with(engine, {});
  EXPECT_GT(largest_difference(expected, without), 1e-2) << "the adapter does nothing that could be compared";
  size_t formats = 0;
  for (const FormatSpec& format : format_specs()) {
    const TempFolder folder;
    const auto file = write_in_format(folder.path(), format, modules, engine.model().configs.flux.hidden());
    if (!file) continue;
    ++formats;
    const Adapter adapter = read_adapter(*file, target);
    EXPECT_TRUE(adapter.report.unmatched.empty()) << format.name;
    const DiffusersModules found = to_diffusers(adapter, target);
    ASSERT_EQ(found.size(), modules.size()) << format.name;
    for (const auto& [name, module] : modules) {
      ASSERT_TRUE(found.contains(name)) << format.name << ": " << name;
      EXPECT_EQ(found.at(name).a, module.a) << format.name << ": " << name;
      EXPECT_EQ(found.at(name).b, module.b) << format.name << ": " << name;
    }
    EXPECT_LE(largest_difference(latents_with(engine, {{*file, {}}}), expected), 1e-5) << format.name;
  }
  engine.use_adapters({});
  EXPECT_GE(formats, 4u);
}

INSTANTIATE_TEST_SUITE_P(All, DemoAdapter, ::testing::ValuesIn(demo_adapters()),
                         [](const auto& info) { return info.param.stem().string(); });

// Every format has at least one demo adapter that it can hold, but for XLabs', which has attention alone.
TEST(DemoAdapters, ReachEveryFormat) {
  Engine& engine = engine_for("demo", "cpu");
  const AdapterTarget& target = engine.adapter_target();
  for (const FormatSpec& format : format_specs()) {
    const bool any = std::ranges::any_of(demo_adapters(), [&](const fs::path& path) {
      const TempFolder folder;
      DiffusersModules modules = to_diffusers(read_adapter(path, target), target);
      return write_in_format(folder.path(), format, modules, engine.model().configs.flux.hidden()).has_value();
    });
    EXPECT_TRUE(any || format.naming == Naming::xlabs) << format.name;
  }
}

// The attention part of an adapter, as XLabs write it.
TEST(DemoAdapters, AttentionInXLabsFormat) {
  Engine& engine = engine_for("demo", "cpu");
  const AdapterTarget& target = engine.adapter_target();
  const auto xlabs = std::ranges::find(format_specs(), Naming::xlabs, &FormatSpec::naming);
  size_t compared = 0;
  for (const fs::path& path : demo_adapters()) {
    DiffusersModules modules = to_diffusers(read_adapter(path, target), target);
    std::erase_if(modules, [](const auto& entry) {
      return entry.first.find("transformer_blocks") == std::string::npos ||
             entry.first.find(".attn.") == std::string::npos;
    });
    if (modules.empty()) continue;
    const TempFolder peft, folder;
    const auto plain = write_in_format(peft.path(), format_specs().front(), modules, 0);
    const auto file = write_in_format(folder.path(), *xlabs, modules, engine.model().configs.flux.hidden());
    ASSERT_TRUE(plain && file);
    EXPECT_LE(largest_difference(latents_with(engine, {{*file, {}}}), latents_with(engine, {{*plain, {}}})), 1e-5)
        << path;
    ++compared;
  }
  engine.use_adapters({});
  EXPECT_GT(compared, 0u);
}

}  // namespace
}  // namespace fx::test
