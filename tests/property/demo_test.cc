// The demo model, which has learned to draw: swaps of its adapters without a trace, and what merging them into quantised
// weights keeps of them.
#include <gtest/gtest.h>

#include <cmath>

#include "golden/golden_run.h"
#include "lora/adapter_file.h"
#include "support/temp_folder.h"

namespace fx::test {
namespace {

using Set = std::vector<AdapterChoice>;

class Demo : public BackEndTest<std::string> {
 protected:
  void SetUp() override {
    BackEndTest::SetUp();
    if (IsSkipped()) return;
    engine_ = &engine_for("demo", GetParam());
    engine_->use_adapters({});
  }
  void TearDown() override {
    if (engine_) engine_->use_adapters({});
  }
  static std::filesystem::path lora(const std::string& name) {
    return model_folder("demo") / "loras" / (name + ".safetensors");
  }
  std::vector<float> latents_with(const Set& adapters, int64_t size = 64) {
    Request r{.prompt = "a red star", .width = size, .height = size, .steps = 4, .seed = 5, .max_sequence_length = 24};
    return engine_->generate_with(adapters, r).latents.values;
  }

  Engine* engine_ = nullptr;
};

class DemoSwaps : public Demo {};

TEST_P(DemoSwaps, ComeAndGoExactly) {
  const auto base = latents_with({});
  std::vector<std::pair<Set, std::vector<float>>> alone;
  for (const char* name : {"pixel", "pencil", "neon", "watercolor", "blueprint", "sunset", "stripes", "zorb"}) {
    alone.emplace_back(Set{{lora(name)}}, latents_with({{lora(name)}}));
    EXPECT_NE(alone.back().second, base) << name;
    EXPECT_EQ(latents_with({}), base) << name;
  }
  const Set mixed = {{lora("pixel"), {0.5f}}, {lora("sunset"), {0.5f}}, {lora("zorb")}};
  alone.emplace_back(mixed, latents_with(mixed));
  Denoiser& denoiser = engine_->pipeline().denoiser();
  for (size_t i = alone.size(); i-- > 0;) {
    EXPECT_EQ(latents_with(alone[i].first), alone[i].second) << i;
    denoiser.use_recordings(false);
    EXPECT_EQ(latents_with(alone[i].first), alone[i].second) << i << ", call by call";
    denoiser.use_recordings(true);
  }
  EXPECT_EQ(latents_with({}), base);
}

// Loading on several threads, with transfers under way: each weight is that of the file, rounded as its type has it.
TEST_P(DemoSwaps, WeightsAreThoseOfTheFile) {
  const ParamStore& store = engine_->model().transformer_params;
  size_t quantised = 0, masters = 0;
  for (const Param& param : store.params()) {
    const std::vector<float> truth = engine_->model().transformer_file->rows(param.name, {0, param.file_shape[0]});
    std::vector<float> values = download(engine_->ops(), param.tensor);
    if (param.master.defined()) {
      ++masters;
      EXPECT_EQ(download(engine_->ops(), param.master), truth) << param.name;  // the file has bf16
    }
    if (!param.scale.defined()) {
      EXPECT_EQ(values, truth) << param.name;
      continue;
    }
    ++quantised;
    const std::vector<float> scale = download(engine_->ops(), param.scale);
    const auto in = static_cast<size_t>(param.tensor.size(1));
    for (size_t i = 0; i < values.size(); ++i) values[i] *= scale[i / in];
    // Steps of an eighth of a power of two: at most 1/16 off, 2.6 % on the whole.
    EXPECT_NEAR(relative_error(values, truth), 0.026, 0.01) << param.name;
  }
  EXPECT_EQ(quantised > 0, way_has(GetParam(), "fp8"));
  EXPECT_EQ(masters > 0, way_has(GetParam(), "merged"));
}

INSTANTIATE_TEST_SUITE_P(Ways, DemoSwaps, testing::ValuesIn(model_ways()), way_name);

// Ways whose layers carry adapters, beside what merging may cost them.
class DemoMerged : public Demo {
 protected:
  // As the layer multiplies with it.
  std::vector<float> weight_of(const Param& param) {
    std::vector<float> values = download(engine_->ops(), param.tensor);
    if (!param.scale.defined()) return values;
    const std::vector<float> scale = download(engine_->ops(), param.scale);
    const int64_t in = param.tensor.size(1);
    for (size_t i = 0; i < values.size(); ++i) values[i] *= scale[i / static_cast<size_t>(in)];
    return values;
  }
};

double norm_of(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return std::sqrt(sum);
}

// A difference that is far smaller than a step of e4m3 (up to 12 % of a value) must not vanish when it is merged: a value
// moves to the next step as often as the difference asks for, so that the whole layer moves by the difference, on
// average. Over the four million weights of all blocks the average is sharp. Emulated on a CPU, 0.978 to 0.986 of a
// difference of 0.5 % of the weights arrive and 0.997 or more of larger ones; what is lost is lost in rounding to bf16, whose
// grid the masters lie on, before the rounding to e4m3. A weight that was made from what it held before, or from
// quantised values, would keep next to nothing of the first.
TEST_P(DemoMerged, SmallDifferencesAreMerged) {
  const AdapterTarget& target = engine_->adapter_target();
  struct Layer {
    const Param* param;
    RowRange rows;
    int64_t rank, in;
    std::vector<float> a, b;
  };
  std::vector<Layer> layers;
  AdapterFileBuilder builder;
  for (const std::string& module : file_modules(target, Component::transformer)) {
    const ModulePlace place = target.find(Component::transformer, module).value();
    const LoraSlot& slot = *target.slots()[place.slot].slot;
    if (!slot.weight->master.defined()) continue;
    Layer layer{slot.weight, place.rows, 8, slot.in, {}, {}};
    // So that B A is about as large as the weight.
    const std::vector<float> weight = weight_of(*slot.weight);
    const double size = norm_of(weight) / std::sqrt(static_cast<double>(weight.size()));
    const auto deviation = static_cast<float>(std::sqrt(size / std::sqrt(static_cast<double>(layer.rank))));
    layer.a.resize(static_cast<size_t>(layer.rank * layer.in));
    layer.b.resize(static_cast<size_t>(layer.rows.count * layer.rank));
    Rng rng(module);
    rng.fill_normal(layer.a, deviation);
    rng.fill_normal(layer.b, deviation);
    builder.add("transformer." + module + ".lora_A.weight", {layer.rank, layer.in}, layer.a);
    builder.add("transformer." + module + ".lora_B.weight", {layer.rows.count, layer.rank}, layer.b);
    layers.push_back(std::move(layer));
  }
  const TempFolder folder;
  const auto file = builder.write(folder / "delta.safetensors");

  std::map<const Param*, std::vector<float>> base;
  for (const Layer& layer : layers) base.try_emplace(layer.param, weight_of(*layer.param));
  size_t weights = 0;
  for (const auto& [param, values] : base) weights += values.size();
  ASSERT_GT(weights, 3'000'000u);
  for (const float share : {0.005f, 0.02f, 0.2f}) {
    const SwapReport report = engine_->use_adapters({{file, {share}}}).swap;
    EXPECT_EQ(report.weights_merged, base.size());
    double along = 0, length = 0;
    for (const Layer& layer : layers) {
      const std::vector<float> merged = weight_of(*layer.param), &old = base.at(layer.param);
      for (int64_t row = 0; row < layer.rows.count; ++row) {
        for (int64_t column = 0; column < layer.in; ++column) {
          double delta = 0;
          for (int64_t r = 0; r < layer.rank; ++r) {
            delta += static_cast<double>(layer.b[static_cast<size_t>(row * layer.rank + r)]) *
                     layer.a[static_cast<size_t>(r * layer.in + column)];
          }
          delta *= share;
          const auto at = static_cast<size_t>((layer.rows.begin + row) * layer.in + column);
          along += delta * (static_cast<double>(merged[at]) - old[at]);
          length += delta * delta;
        }
      }
    }
    EXPECT_NEAR(along / length, 1.0, 0.03) << "a difference of " << 100 * share << " % of the weights";
  }
  engine_->use_adapters({});
  for (const auto& [param, values] : base) EXPECT_EQ(weight_of(*param), values) << param->name;
}

// A layer that carries its adapter does what it does beside it. Ranges of steps are never merged: one that leaves out
// nothing (0.99 of 4 steps) tells the two apart, with the same base. These three change the latents by more than their own
// length, so that rounding is small beside what they do: emulated on a CPU (weights, inputs and outputs of layers rounded as
// they are here), the two differ by 0.6 % at most in bf16 and by 5.6 % in fp8. An adapter that is left out of a few layers, or
// comes twice, is far beyond.
TEST_P(DemoMerged, MergedIsUnmergedButForRounding) {
  const double rounding = way_has(GetParam(), "fp8") ? 0.15 : 0.03;
  const auto base = latents_with({}, 128);
  for (const char* name : {"neon", "blueprint", "sunset"}) {
    const auto merged = latents_with({{lora(name)}}, 128);
    const auto unmerged = latents_with({{lora(name), {.steps = {0.0, 0.99}}}}, 128);
    EXPECT_NE(merged, unmerged) << name << " was not merged";
    EXPECT_GT(relative_error(unmerged, base), 1.0) << name;
    EXPECT_LT(relative_error(minus(merged, base), minus(unmerged, base)), rounding) << name;
  }
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(DemoMerged);  // in builds without CUDA
INSTANTIATE_TEST_SUITE_P(Ways, DemoMerged, testing::ValuesIn(merged_ways()), way_name);

}  // namespace
}  // namespace fx::test
