// How a model is to be held follows from its size and from what the device has and can.
#include "pipeline/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/make_ops.h"
#include "support/expect_error.h"
#include "support/forwarding_ops.h"
#include "support/golden.h"

namespace fx::test {
namespace {

using ::testing::HasSubstr;

constexpr size_t kBeside = size_t{4} << 30;  // what a plan leaves for everything that is no weight

class Device final : public ForwardingOps {
 public:
  // `types` beyond f32; of them, `fast` are in its matrix units.
  Device(std::vector<DType> types, std::vector<DType> fast, size_t available = size_t{1} << 40)
      : ForwardingOps(make_reference_ops()),
        types_(std::move(types)),
        fast_(std::move(fast)),
        memory_(inner().runtime(), available) {}
  Runtime& runtime() override { return memory_; }
  bool computes_in(DType dtype) const override { return dtype == DType::f32 || std::ranges::count(types_, dtype) > 0; }
  bool multiplies_in(DType dtype) const override { return std::ranges::count(fast_, dtype) > 0; }

 private:
  class Memory final : public ForwardingRuntime {
   public:
    Memory(Runtime& inner, size_t available) : ForwardingRuntime(inner), available_(available) {}
    std::string device_name() const override { return "a device"; }
    size_t available() const override { return available_; }

   private:
    size_t available_;
  };

  std::vector<DType> types_, fast_;
  Memory memory_;
};

Device hopper(size_t available = size_t{1} << 40) {
  return {{DType::bf16, DType::f8_e4m3}, {DType::bf16, DType::f8_e4m3}, available};
}
Device ampere(size_t available = size_t{1} << 40) { return {{DType::bf16, DType::f8_e4m3}, {DType::bf16}, available}; }

ModelConfigs small() { return read_model_configs(golden_folder() / "tiny-dev" / "model"); }

// 1.07 billion parameters in the transformer.
ModelConfigs large() {
  ModelConfigs configs = small();
  configs.name = "large";
  configs.flux = FluxConfig();
  configs.flux.heads = 8;
  configs.flux.double_blocks = configs.flux.single_blocks = 20;
  return configs;
}

size_t need(const ModelConfigs& configs, const ModelOptions& options) {
  return weight_bytes(configs, hopper(), options) + kBeside;
}

constexpr Precision kFp8 = Precision::fp8;

TEST(WeightBytes, CountsWhatIsStored) {
  const ModelConfigs configs = small();
  const Device device = hopper();
  const size_t f32 = weight_bytes(configs, device, {}),
               bf16 = weight_bytes(configs, device, {.precision = Precision::bf16});
  EXPECT_EQ(f32, 2 * bf16);
  EXPECT_EQ(weight_bytes(configs, device, {.masters = true}), f32) << "f32 is never merged on the device";
  // A master is a second copy of each block weight, as large as it in bf16 and twice as large as in e4m3.
  const size_t copies = weight_bytes(configs, device, {.precision = Precision::bf16, .masters = true}) - bf16;
  EXPECT_GT(copies, bf16 / 10);
  EXPECT_LT(copies, bf16);
  const size_t fp8 = weight_bytes(configs, device, {.precision = Precision::fp8, .masters = true});
  EXPECT_LT(fp8, bf16 + copies);
  EXPECT_GT(fp8, bf16 + copies / 2) << "and its scales";
  const size_t twice = weight_bytes(configs, device, {.precision = Precision::fp8, .masters = true, .weight_sets = 2});
  EXPECT_GT(twice - fp8, copies / 2) << "the second set, and its scales";
  EXPECT_LT(twice - fp8, copies);
  const ModelOptions beside{.precision = Precision::fp8, .lora_ranks = 16};
  EXPECT_GT(weight_bytes(configs, device, beside), weight_bytes(configs, device, {.precision = Precision::fp8}));
  EXPECT_EQ(weight_bytes(configs, ampere(), beside), weight_bytes(configs, ampere(), {.precision = Precision::fp8}))
      << "no products that would take them along";
  EXPECT_LT(weight_bytes(configs, device, {.precision = Precision::fp8}), bf16);
  EXPECT_LT(weight_bytes(configs, device, {.precision = Precision::fp8, .e4m3_modulation = true}),
            weight_bytes(configs, device, {.precision = Precision::fp8}));
  EXPECT_EQ(weight_bytes(configs, device, {.precision = Precision::bf16, .e4m3_modulation = true}), bf16);
}

TEST(PlanModel, TakesF32WhereNothingElseIsThere) {
  Device device({}, {}, 1);  // memory is not asked: a CPU's is virtual
  for (const ModelConfigs& configs : {small(), large()}) {
    const ModelOptions options = plan_model(configs, device, {});
    EXPECT_EQ(options.precision, Precision::f32);
    EXPECT_FALSE(options.masters || options.e4m3_attention);
  }
  const ModelOptions asked = plan_model(small(), device, {.masters = true, .e4m3_attention = true});
  EXPECT_FALSE(asked.masters || asked.e4m3_attention);
  for (const Precision precision : {Precision::bf16, Precision::fp8}) {
    const std::string text =
        error_of(ErrorCode::unsupported, [&] { plan_model(small(), device, {.precision = precision}); });
    EXPECT_THAT(text, HasSubstr("precision " + std::string(name(precision))));
    EXPECT_THAT(text, HasSubstr("a device computes in f32"));
  }
}

TEST(PlanModel, ChoosesThePrecisionBySizeAndMatrixUnits) {
  Device fast = hopper(), old = ampere();
  EXPECT_EQ(plan_model(small(), fast, {}).precision, Precision::bf16) << "too small for fp8 to be worth it";
  EXPECT_FALSE(plan_model(small(), fast, {}).e4m3_attention);
  const ModelOptions options = plan_model(large(), fast, {});
  EXPECT_EQ(options.precision, Precision::fp8);
  EXPECT_TRUE(options.e4m3_attention);
  EXPECT_EQ(plan_model(large(), old, {}).precision, Precision::bf16);
  EXPECT_EQ(plan_model(large(), old, {.precision = Precision::fp8}).precision, Precision::fp8) << "slower, and smaller";
  EXPECT_FALSE(plan_model(large(), old, {.precision = Precision::fp8}).masters);
  EXPECT_FALSE(plan_model(large(), old, {.precision = Precision::fp8}).e4m3_modulation);
  EXPECT_EQ(plan_model(large(), old, {.precision = Precision::fp8}).lora_ranks, 0)
      << "weights take no adapters along there";
  EXPECT_EQ(plan_model(small(), fast, {.precision = Precision::f32}).precision, Precision::f32);
  EXPECT_FALSE(plan_model(large(), fast, {.e4m3_attention = false}).e4m3_attention);
  EXPECT_TRUE(plan_model(small(), fast, {.e4m3_attention = true}).e4m3_attention);
}

TEST(PlanModel, KeepsMastersInBf16WhereThereIsRoom) {
  const ModelConfigs configs = small();
  const size_t with = need(configs, {.precision = Precision::bf16, .masters = true});
  const size_t twice = need(configs, {.precision = Precision::bf16, .masters = true, .weight_sets = 2});
  ASSERT_LT(with, twice);
  Device roomy = hopper(with), tight = hopper(with - 1), roomiest = hopper(twice);
  EXPECT_EQ(plan_model(configs, roomiest, {}).weight_sets, 2);
  EXPECT_EQ(plan_model(configs, roomy, {}).weight_sets, 1);
  EXPECT_TRUE(plan_model(configs, roomy, {}).masters);
  EXPECT_FALSE(plan_model(configs, roomy, {.masters = false}).masters);
  EXPECT_FALSE(plan_model(configs, tight, {}).masters);
  EXPECT_EQ(plan_model(configs, tight, {}).lora_ranks, 0) << "bf16 has no use for room";
  error_of(ErrorCode::out_of_memory, [&] { plan_model(configs, tight, {.masters = true}); });
}

TEST(PlanModel, KeepsMastersInFp8WhereTheyAreAskedFor) {
  const ModelConfigs configs = large();
  const size_t twice = need(configs, {.precision = kFp8, .masters = true, .weight_sets = 2});
  Device roomy = hopper(twice), tight = hopper(twice - 1);
  EXPECT_FALSE(plan_model(configs, roomy, {}).masters) << "merging rounds anew for each adapter";
  EXPECT_EQ(plan_model(configs, roomy, {}).weight_sets, 1);
  const ModelOptions merged = plan_model(configs, roomy, {.masters = true});
  EXPECT_TRUE(merged.masters);
  EXPECT_EQ(merged.weight_sets, 2);
  EXPECT_EQ(merged.lora_ranks, 0) << "merged adapters need no room";
  EXPECT_EQ(plan_model(configs, tight, {.masters = true}).weight_sets, 1);

  const WantedModel merging{.merging = true};
  EXPECT_TRUE(plan_model(configs, roomy, merging).masters) << "without, the host would merge";
  EXPECT_FALSE(plan_model(configs, roomy, {.masters = false, .merging = true}).masters);
  const size_t once = need(configs, {.precision = kFp8, .masters = true});
  Device least = hopper(once - 1);
  EXPECT_FALSE(plan_model(configs, least, merging).masters) << "no memory for that";
  const ModelOptions smallest = plan_model(configs, least, {.masters = true});
  EXPECT_TRUE(smallest.masters && smallest.e4m3_modulation);
  EXPECT_EQ(smallest.weight_sets, 1);
  EXPECT_EQ(smallest.lora_ranks, 0);
}

// As memory gets short: less room for adapters, then less exact modulation, then no room at all.
TEST(PlanModel, LeavesRoomForAdaptersInFp8) {
  const ModelConfigs configs = large();
  using Way = std::pair<bool, int64_t>;  // modulation in e4m3, ranks
  const auto with = [&](bool rounded, int64_t ranks) {
    return need(configs, {.precision = kFp8, .e4m3_modulation = rounded, .lora_ranks = ranks});
  };
  const auto way = [&](size_t bytes, std::optional<bool> modulation = {}) {
    Device device = hopper(bytes);
    const ModelOptions options = plan_model(configs, device, {.e4m3_modulation = modulation});
    return Way(options.e4m3_modulation, options.lora_ranks);
  };
  EXPECT_EQ(way(with(false, 128)), Way(false, 128));
  EXPECT_EQ(way(with(false, 128) - 1), Way(false, 64));
  EXPECT_EQ(way(with(false, 64) - 1), Way(true, 128));
  EXPECT_EQ(way(with(true, 128) - 1), Way(true, 64));
  EXPECT_EQ(way(with(true, 64) - 1), Way(true, 0));
  EXPECT_EQ(way(with(false, 128) - 1, false), Way(false, 64));
  EXPECT_EQ(way(with(false, 64) - 1, false), Way(false, 0));
  EXPECT_EQ(way(with(false, 128), true), Way(true, 128));
  Device least = hopper(with(true, 0)), roomy = hopper();
  EXPECT_EQ(plan_model(configs, roomy, {.lora_ranks = 16}).lora_ranks, 16);
  const std::string text = error_of(ErrorCode::out_of_memory, [&] { plan_model(configs, least, {.lora_ranks = 16}); });
  EXPECT_THAT(
      text, HasSubstr("precision fp8 with unmerged adapters and modulation in e4m3 and less room for them would fit"));
}

TEST(PlanModel, RoundsModulationWhereMemoryIsShort) {
  const ModelConfigs configs = large();
  Device tight = hopper(need(configs, {.precision = kFp8, .lora_ranks = 128}) - 1);
  EXPECT_TRUE(plan_model(configs, tight, {.lora_ranks = 128}).e4m3_modulation);
  error_of(ErrorCode::out_of_memory,
           [&] { plan_model(configs, tight, {.e4m3_modulation = false, .lora_ranks = 128}); });

  Device plenty = hopper();
  EXPECT_FALSE(plan_model(configs, plenty, {.masters = true}).e4m3_modulation) << "beside masters";
  EXPECT_TRUE(plan_model(configs, plenty, {.e4m3_modulation = true}).e4m3_modulation);
  EXPECT_FALSE(plan_model(configs, plenty, {.precision = Precision::bf16, .e4m3_modulation = true}).e4m3_modulation);
}

TEST(PlanModel, SaysWhatWouldFit) {
  const ModelConfigs configs = large();
  Device tight = hopper(need(configs, {.precision = kFp8, .masters = true, .e4m3_modulation = true}) - 1);
  std::string text = error_of(ErrorCode::out_of_memory, [&] { plan_model(configs, tight, {.masters = true}); });
  EXPECT_THAT(text, HasSubstr("large in fp8 with merged adapters needs"));
  EXPECT_THAT(text, HasSubstr("GiB are free on a device"));
  EXPECT_THAT(text, HasSubstr("precision fp8 with unmerged adapters would fit"));
  Device tight_for_bf16 = hopper(need(configs, {.precision = Precision::bf16, .masters = true}) - 1);
  text = error_of(ErrorCode::out_of_memory,
                  [&] { plan_model(configs, tight_for_bf16, {.precision = Precision::bf16, .masters = true}); });
  EXPECT_THAT(text, HasSubstr("precision bf16 with unmerged adapters would fit"));

  const size_t least = need(configs, {.precision = kFp8, .e4m3_modulation = true});
  Device small_device = hopper(least);
  text = error_of(ErrorCode::out_of_memory, [&] { plan_model(configs, small_device, {.precision = Precision::bf16}); });
  EXPECT_THAT(text, HasSubstr("large in bf16 needs"));
  EXPECT_THAT(text, HasSubstr("precision fp8 with unmerged adapters and modulation in e4m3 would fit"));
  const WantedModel exact{.precision = kFp8, .e4m3_modulation = false};
  text = error_of(ErrorCode::out_of_memory, [&] { plan_model(configs, small_device, exact); });
  EXPECT_THAT(text, HasSubstr("precision fp8 with unmerged adapters and modulation in e4m3 would fit"));
  Device middle = hopper(need(configs, {.precision = kFp8}));
  text = error_of(ErrorCode::out_of_memory, [&] { plan_model(configs, middle, {.precision = Precision::bf16}); });
  EXPECT_THAT(text, HasSubstr("precision fp8 with unmerged adapters would fit"));

  Device smaller = hopper(least - 1);
  text = error_of(ErrorCode::out_of_memory, [&] { plan_model(configs, smaller, {}); });
  EXPECT_THAT(text, HasSubstr("no precision would fit; compute on the cpu"));
}

}  // namespace
}  // namespace fx::test
