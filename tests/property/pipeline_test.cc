// Properties of whole pictures: swaps come and go without a trace, the same request gives the same bytes, and a request
// that fails leaves the engine as it was.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "golden/golden_run.h"
#include "pipeline/decode.h"
#include "support/random.h"

namespace fx::test {
namespace {

constexpr const char* kModel = "tiny-dev";

class PipelineProperties : public BackEndTest<std::string> {
 protected:
  void SetUp() override {
    BackEndTest::SetUp();
    if (IsSkipped()) return;
    engine_ = &engine_for(kModel, GetParam());
    engine_->use_adapters({});
  }

  static AdapterChoice adapter(const std::string& name, float scale = 1.0f) {
    return {golden_folder() / kModel / "loras" / (name + ".safetensors"), scale};
  }
  static Request request() {
    Request r{.prompt = "a red star", .width = 96, .height = 64, .steps = 2};
    r.seed = 11;
    r.max_sequence_length = 16;
    return r;
  }
  std::vector<float> latents() { return engine_->pipeline().generate(request()).latents.values; }
  std::vector<float> latents_with(const std::vector<AdapterChoice>& adapters) {
    engine_->use_adapters(adapters);
    return latents();
  }

  Engine* engine_ = nullptr;
};

TEST_P(PipelineProperties, SwappingBackAndForthIsExact) {
  const auto base = latents();
  const auto a = latents_with({adapter("all-linears")});
  const auto b = latents_with({adapter("clip"), adapter("t5")});
  EXPECT_EQ(latents_with({adapter("all-linears")}), a);
  EXPECT_EQ(latents_with({adapter("clip"), adapter("t5")}), b);
  EXPECT_EQ(latents_with({}), base);
  EXPECT_NE(a, base);
  EXPECT_NE(b, base);
  EXPECT_NE(a, b);
}

TEST_P(PipelineProperties, ScaleZeroIsNoAdapter) {
  const auto base = latents();
  EXPECT_EQ(latents_with({adapter("all-linears", 0.0f)}), base);
}

TEST_P(PipelineProperties, FailedSwapChangesNothing) {
  const auto a = latents_with({adapter("attention")});
  EXPECT_THROW(engine_->use_adapters({adapter("all-linears"), adapter("missing")}), Error);
  const auto bad = std::filesystem::temp_directory_path() / "fluxswap_not_an_adapter.safetensors";
  std::ofstream(bad) << "<!DOCTYPE html>";
  EXPECT_THROW(engine_->use_adapters({{bad, 1.0f}}), Error);
  EXPECT_THROW(engine_->use_adapters({adapter("attention", NAN)}), Error);
  std::filesystem::remove(bad);
  EXPECT_EQ(latents(), a);
}

TEST_P(PipelineProperties, SameRequestGivesTheSameBytes) {
  const Picture first = engine_->pipeline().generate(request()), second = engine_->pipeline().generate(request());
  EXPECT_EQ(first.latents.values, second.latents.values);
  EXPECT_EQ(first.image.rgb, second.image.rgb);
  Request other = request();
  other.seed = 12;
  EXPECT_NE(engine_->pipeline().generate(other).latents.values, first.latents.values);
}

TEST_P(PipelineProperties, CancelledAndBadRequestsLeaveTheEngineUsable) {
  const auto base = latents();
  int calls = 0;
  EXPECT_THROW(engine_->pipeline().generate(request(), [&](const Progress& now) {
    ++calls;
    return now.stage != Stage::denoise || now.step < 1;
  }), Error);
  EXPECT_GT(calls, 1);
  for (const auto& change : std::vector<std::function<void(Request&)>>{
           [](Request& r) { r.width = 65; }, [](Request& r) { r.height = -16; }, [](Request& r) { r.width = 1 << 20; },
           [](Request& r) { r.steps = -1; }, [](Request& r) { r.steps = 100000; }, [](Request& r) { r.guidance = NAN; },
           [](Request& r) { r.guidance = 1e300; }, [](Request& r) { r.prompt = std::string("a\0b", 3); },
           [](Request& r) { r.max_sequence_length = 513; }, [](Request& r) { r.prompt = "\xff\xfe"; },
           [](Request& r) { r.given.latents = HostTensor{"latents", {1, 1, 1}, {0.0f}}; },
           [](Request& r) { r.given.prompt_embeds = HostTensor{"prompt_embeds", {1, 2, 3}, std::vector<float>(6)}; },
           [](Request& r) { r.given.pooled = HostTensor{"pooled", {1, 3}, std::vector<float>(3)}; }}) {
    Request bad = request();
    change(bad);
    EXPECT_THROW(engine_->pipeline().generate(bad), Error);
  }
  EXPECT_EQ(latents(), base);
}

TEST_P(PipelineProperties, GivenInputsReplaceSeedAndPrompt) {
  const Picture whole = engine_->pipeline().generate(request());
  const Conditions conditions = engine_->pipeline().encode("a red star", 16);
  Request given = request();
  given.prompt = "something else";
  given.seed = 99;
  given.given = {packed_noise(engine_->model().configs, whole.request), conditions.prompt_embeds, conditions.pooled};
  EXPECT_EQ(engine_->pipeline().generate(given).latents.values, whole.latents.values);
}

TEST_P(PipelineProperties, CutOffPromptIsReported) {
  Request r = request();
  r.max_sequence_length = 4;
  r.prompt = "a red star left of a large blue circle on a yellow background";
  const Picture picture = engine_->pipeline().generate(r);
  ASSERT_FALSE(picture.warnings.empty());
  EXPECT_NE(picture.warnings.back().find("T5"), std::string::npos);
}

TEST_P(PipelineProperties, CancellingAfterTheLastStepKeepsThePicture) {
  const Picture whole = engine_->pipeline().generate(request());
  const Picture late = engine_->pipeline().generate(request(), [](const Progress& now) { return now.step < 2; });
  EXPECT_EQ(late.image.rgb, whole.image.rgb);
}

TEST_P(PipelineProperties, NotFiniteLatentsAreNoPicture) {
  Picture picture = engine_->pipeline().generate(request());
  picture.latents.values[5] = NAN;
  EXPECT_THROW(engine_->pipeline().decode(picture.latents, 96, 64), Error);
}

// Not finite weights must never become a picture without a word.
TEST_P(PipelineProperties, OverflowIsAnError) {
  EXPECT_THROW(latents_with({adapter("all-linears", 1e30f)}), Error);
  engine_->use_adapters({});
}

// Group norms and attention see a tile instead of the whole, so pictures differ a little; a seam or a misplaced tile would
// be far outside of it.
class Decoding : public BackEndTest<std::string> {};

TEST_P(Decoding, TilesMakeNearlyTheSamePicture) {
  Engine& engine = engine_for("demo", GetParam());
  const Model& model = engine.model();
  const int64_t multiple = model.configs.size_multiple(), rows = 48, columns = 40;
  HostTensor latents{"latents", {1, rows * columns, model.configs.flux.in_channels}, {}};
  latents.values.resize(static_cast<size_t>(latents.shape.count()));
  Rng rng("tiles");
  rng.fill_normal(latents.values, 1, 0);
  const auto decode = [&](size_t most_bytes) {
    return decode_picture(engine.ops(), model, latents, columns * multiple, rows * multiple, nullptr, most_bytes).rgb;
  };
  const auto whole = decode(SIZE_MAX);
  const auto tiled = decode(model.decoder.bytes(48, 48, model.vae_params.activations()));
  ASSERT_EQ(tiled.size(), whole.size());
  double difference = 0, spread = 0, mean = 0;
  for (const uint8_t value : whole) mean += value / static_cast<double>(whole.size());
  for (size_t i = 0; i < whole.size(); ++i) {
    difference += (whole[i] - tiled[i]) * (whole[i] - tiled[i]);
    spread += (whole[i] - mean) * (whole[i] - mean);
  }
  EXPECT_GT(difference, 0) << "not decoded in tiles";
  EXPECT_LT(difference / spread, 0.02);
}

INSTANTIATE_TEST_SUITE_P(Ways, Decoding, testing::ValuesIn(model_ways()), way_name);
INSTANTIATE_TEST_SUITE_P(Ways, PipelineProperties, testing::ValuesIn(model_ways()), way_name);

}  // namespace
}  // namespace fx::test
