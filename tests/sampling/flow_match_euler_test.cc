#include "sampling/flow_match_euler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "io/json_file.h"
#include "support/expect_error.h"

namespace fx {
namespace {

using test::error_of;
using ::testing::HasSubstr;

SchedulerConfig config_of(const nlohmann::json& json) {
  SchedulerConfig config;
  config.num_train_timesteps = json.value("num_train_timesteps", config.num_train_timesteps);
  config.shift = json.value("shift", config.shift);
  config.use_dynamic_shifting = json.value("use_dynamic_shifting", config.use_dynamic_shifting);
  config.base_shift = json.value("base_shift", config.base_shift);
  config.max_shift = json.value("max_shift", config.max_shift);
  config.base_image_seq_len = json.value("base_image_seq_len", config.base_image_seq_len);
  config.max_image_seq_len = json.value("max_image_seq_len", config.max_image_seq_len);
  config.time_shift_type = json.value("time_shift_type", config.time_shift_type);
  if (json.contains("shift_terminal")) config.shift_terminal = json["shift_terminal"].get<double>();
  return config;
}

float float_of_hex(const std::string& text, size_t index) {
  return std::bit_cast<float>(static_cast<uint32_t>(std::stoul(text.substr(8 * index, 8), nullptr, 16)));
}

// Everything is computed in the order of numpy in f32; only exp(mu) comes from another library.
constexpr float kTolerance = 1e-6f;

TEST(FlowMatchEuler, SigmasEqualDiffusers) {
  const nlohmann::json golden = read_json_file(FLUXSWAP_SOURCE_DIR "/tests/data/sigmas.json");
  float worst = 0;
  for (const auto& item : golden["cases"]) {
    const SchedulerConfig config = config_of(item["config"]);
    const int64_t tokens = item["height"].get<int64_t>() / 16 * (item["width"].get<int64_t>() / 16);
    const std::string expected = item["sigmas"];
    size_t position = 0;
    for (int steps = item["min_steps"]; steps <= 50; ++steps) {
      const std::vector<float> sigmas = flow_match_sigmas(config, steps, tokens);
      ASSERT_EQ(sigmas.size(), static_cast<size_t>(steps) + 1);
      for (const float sigma : sigmas) worst = std::fmax(worst, std::fabs(sigma - float_of_hex(expected, position++)));
      ASSERT_LE(worst, kTolerance) << item["name"] << " " << item["height"] << " x " << item["width"] << ", " << steps;
    }
    EXPECT_EQ(position * 8, expected.size());
    const auto timesteps = flow_match_timesteps(config, flow_match_sigmas(config, 4, tokens));
    const std::vector<float> expected_timesteps = item["timesteps"];
    ASSERT_EQ(timesteps.size(), expected_timesteps.size());
    for (size_t i = 0; i < timesteps.size(); ++i) EXPECT_NEAR(timesteps[i], expected_timesteps[i], 1e-3f);
  }
  RecordProperty("worst", std::to_string(worst));
}

TEST(FlowMatchEuler, SigmasFallFromOneToZero) {
  SchedulerConfig config;
  config.use_dynamic_shifting = true;
  for (const int64_t tokens : {1, 256, 4096, 65536}) {
    for (int steps = 1; steps <= 50; ++steps) {
      const std::vector<float> sigmas = flow_match_sigmas(config, steps, tokens);
      EXPECT_EQ(sigmas.front(), 1.0f);
      EXPECT_EQ(sigmas.back(), 0.0f);
      for (size_t i = 1; i < sigmas.size(); ++i) EXPECT_LT(sigmas[i], sigmas[i - 1]);
    }
  }
}

TEST(FlowMatchEuler, MuIsLinearBetweenItsTwoPoints) {
  const SchedulerConfig config;
  EXPECT_DOUBLE_EQ(dynamic_shift_mu(config, 256), 0.5);
  EXPECT_DOUBLE_EQ(dynamic_shift_mu(config, 4096), 1.15);
  EXPECT_DOUBLE_EQ(dynamic_shift_mu(config, 2176), 0.825);
}

TEST(FlowMatchEuler, RefusesUnsupportedFieldsByName) {
  const auto refusal = [](ErrorCode code, auto&& change) {
    SchedulerConfig config;
    change(config);
    return error_of(code, [&] { flow_match_sigmas(config, 4, 256); });
  };
  const auto unsupported = ErrorCode::unsupported, bad_file = ErrorCode::bad_file;
  EXPECT_THAT(refusal(unsupported, [](auto& c) { c.invert_sigmas = true; }), HasSubstr("invert_sigmas is true"));
  EXPECT_THAT(refusal(unsupported, [](auto& c) { c.use_karras_sigmas = true; }), HasSubstr("use_karras_sigmas is"));
  EXPECT_THAT(refusal(unsupported, [](auto& c) { c.use_exponential_sigmas = true; }),
              HasSubstr("use_exponential_sigmas"));
  EXPECT_THAT(refusal(unsupported, [](auto& c) { c.use_beta_sigmas = true; }), HasSubstr("use_beta_sigmas is true"));
  EXPECT_THAT(refusal(unsupported, [](auto& c) { c.stochastic_sampling = true; }), HasSubstr("stochastic_sampling is"));
  EXPECT_THAT(refusal(unsupported, [](auto& c) { c.time_shift_type = "cubic"; }), HasSubstr("'linear', found 'cubic'"));
  EXPECT_THAT(refusal(bad_file, [](auto& c) { c.num_train_timesteps = 0; }),
              HasSubstr("num_train_timesteps: expected 1"));
  EXPECT_THAT(refusal(bad_file, [](auto& c) { c.shift = 0; }), HasSubstr("shift: expected a number above 0, found 0"));
  EXPECT_THAT(refusal(bad_file, [](auto& c) { c.shift = std::numeric_limits<double>::infinity(); }),
              HasSubstr("found inf"));
  EXPECT_THAT(refusal(bad_file, [](auto& c) { c.shift_terminal = 1.0; }), HasSubstr("shift_terminal: expected"));
  EXPECT_THAT(refusal(bad_file,
                      [](auto& c) {
                        c.use_dynamic_shifting = true;
                        c.max_image_seq_len = c.base_image_seq_len;
                      }),
              HasSubstr("must differ, found 256 for both"));
}

TEST(FlowMatchEuler, RefusesBadRequests) {
  const auto refusal = [](SchedulerConfig config, int steps, int64_t tokens) {
    return error_of(ErrorCode::invalid_argument, [&] { flow_match_sigmas(config, steps, tokens); });
  };
  EXPECT_THAT(refusal({}, 0, 256), HasSubstr("expected 1 step or more, found 0"));
  EXPECT_THAT(refusal({}, 4, 0), HasSubstr("expected 1 image token or more, found 0"));
  SchedulerConfig terminal;
  terminal.shift_terminal = 0.1;
  EXPECT_THAT(refusal(terminal, 1, 256), HasSubstr("shift_terminal needs 2 steps or more"));
}

}  // namespace
}  // namespace fx
