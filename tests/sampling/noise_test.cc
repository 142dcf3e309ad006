#include "sampling/noise.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "io/json_file.h"
#include "io/sha256.h"

namespace fx {
namespace {

// Seeds are text in the golden file; those of Python may be negative.
uint64_t parse_seed(const std::string& text) {
  return text.starts_with('-') ? static_cast<uint64_t>(std::stoll(text)) : std::stoull(text);
}

TEST(Noise, EqualsTorchBitwise) {
  const nlohmann::json golden = read_json_file(FLUXSWAP_SOURCE_DIR "/tests/data/noise.json");
  std::set<std::string> seeds;
  std::set<size_t> sizes;
  for (const auto& item : golden["cases"]) {
    const std::string seed = item["seed"], dtype = item["dtype"];
    std::vector<float> noise(item["count"].get<size_t>());
    draw_noise(parse_seed(seed), dtype == "f32" ? NoiseType::f32 : NoiseType::bf16, noise);
    const std::vector<float> first = item["first"];
    for (size_t i = 0; i < first.size(); ++i) {
      EXPECT_EQ(noise[i], first[i]) << dtype << ", seed " << seed << ", " << noise.size() << " values, value " << i;
    }
    EXPECT_EQ(sha256_hex(std::as_bytes(std::span(noise))), item["sha256"].get<std::string>())
        << dtype << ", seed " << seed << ", " << noise.size() << " values";
    seeds.insert(seed);
    sizes.insert(noise.size());
  }
  EXPECT_GE(seeds.size(), 20u);
  EXPECT_GE(sizes.size(), 5u);
}

TEST(Noise, OnlyTheLow32BitsOfASeedCount) {
  std::vector<float> a(100), b(100);
  draw_noise(5, NoiseType::f32, a);
  draw_noise(5 + (7ull << 32), NoiseType::f32, b);
  EXPECT_EQ(a, b);
  draw_noise(6, NoiseType::f32, b);
  EXPECT_NE(a, b);
}

TEST(Noise, DrawsNothing) { draw_noise(1, NoiseType::f32, {}); }

}  // namespace
}  // namespace fx
