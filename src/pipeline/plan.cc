#include "pipeline/plan.h"

#include <vector>

#include "core/error.h"

namespace fx {
namespace {

constexpr int64_t kLarge = 1'000'000'000;    // parameters from which on fp8 is worth its rounding
constexpr size_t kBeside = size_t{4} << 30;  // activations, workspace, slots and the VAE's pictures at 1024 x 1024
constexpr int64_t kMostRanks = 128, kUsualRanks = 64;  // hardly any adapter has more, most have no more
constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

size_t bytes_of(const ParamStore& store) {
  size_t total = 0;
  for (const Param& param : store.params()) {
    for (const Tensor& t :
         {param.tensor, param.scale, param.master, param.next, param.next_scale, param.front, param.down})
      total += t.defined() ? static_cast<size_t>(t.bytes()) : 0;
  }
  return total;
}

// The networks without their weights: memory that is never touched stays virtual.
struct Outline {
  const std::unique_ptr<Runtime> runtime = make_host_runtime();
  ParamStore transformer, others;
  Flux flux;
  ClipText clip;
  T5Encoder t5;
  VaeDecoder decoder;

  Outline(const ModelConfigs& configs, const Ops& ops, const ModelOptions& options)
      : transformer(*runtime, transformer_types(ops, options)),
        others(*runtime, ModelTypes::plain_of(options.precision)),
        flux(transformer, configs.flux),
        clip(others, configs.clip),
        t5(others, configs.t5),
        decoder(others, configs.vae) {}
};

bool fits(const ModelConfigs& configs, const Ops& ops, const ModelOptions& options, size_t available) {
  return weight_bytes(configs, ops, options) + kBeside <= available;
}

Precision choose_precision(const ModelConfigs& configs, const Ops& ops) {
  if (!ops.computes_in(DType::bf16)) return Precision::f32;
  const bool large = Outline(configs, ops, {}).transformer.parameter_count() >= kLarge;
  return large && ops.multiplies_in(DType::f8_e4m3) ? Precision::fp8 : Precision::bf16;
}

void check_precision(Precision precision, Ops& ops) {
  const DType needed = precision == Precision::f32    ? DType::f32
                       : precision == Precision::bf16 ? DType::bf16
                                                      : DType::f8_e4m3;
  check(ops.computes_in(needed), ErrorCode::unsupported, "precision {}: {} computes in f32; expected f32 or auto",
        name(precision), ops.runtime().device_name());
}

// Ways to hold a model that the device and the user allow, the best first, the smallest last.
std::vector<ModelOptions> ways_to_hold(const ModelOptions& start, const WantedModel& wanted, const Ops& ops) {
  const bool fp8 = start.precision == Precision::fp8;
  std::vector<bool> rounded{false, true};  // modulation
  if (!fp8) rounded = {false};
  else if (wanted.e4m3_modulation) rounded = {*wanted.e4m3_modulation};
  std::vector<int64_t> rooms{0};
  if (fp8 && ops.multiplies_in(DType::f8_e4m3))
    rooms = wanted.lora_ranks ? std::vector{*wanted.lora_ranks} : std::vector{kMostRanks, kUsualRanks, int64_t{0}};

  std::vector<ModelOptions> ways;
  const auto add = [&](bool masters, int sets, bool modulation, int64_t ranks) {
    ModelOptions& way = ways.emplace_back(start);
    way.masters = masters, way.weight_sets = sets, way.e4m3_modulation = modulation, way.lora_ranks = ranks;
  };
  // Merged weights are rounded to e4m3 anew for each adapter, and what a weak one changes drowns in that.
  if (wanted.masters.value_or(wanted.merging || !fp8)) {
    add(true, 2, rounded.front(), 0);  // the next adapter is merged while a picture runs
    add(true, 1, rounded.front(), 0);
    if (wanted.masters) add(true, 1, rounded.back(), 0);
  }
  if (wanted.masters.value_or(false)) return ways;
  for (const bool modulation : rounded) {
    for (const int64_t ranks : rooms) {
      if (ranks > 0 || rooms.size() == 1 || modulation == rounded.back()) add(false, 1, modulation, ranks);
    }
  }
  return ways;
}

// What to do about it, in words. `smallest`: of the ways that were tried.
std::string what_fits(const ModelConfigs& configs, const Ops& ops, const ModelOptions& smallest, size_t available) {
  using Way = std::pair<Precision, bool>;  // with modulation in e4m3
  std::vector<Way> ways{{Precision::fp8, false}, {Precision::fp8, true}};
  ways.insert(smallest.precision == Precision::fp8 ? ways.end() : ways.begin(), {Precision::bf16, false});
  ModelOptions options = smallest;
  options.masters = false, options.weight_sets = 1;
  for (const bool less_room : {false, true}) {
    if (less_room) options.lora_ranks = 0;
    for (const auto& [precision, rounded] : ways) {
      options.precision = precision;
      options.e4m3_modulation = rounded;
      if (!fits(configs, ops, options, available)) continue;
      return fmt::format("precision {} with unmerged adapters{}{} would fit", name(precision),
                         rounded ? " and modulation in e4m3" : "", less_room ? " and less room for them" : "");
    }
  }
  return "no precision would fit; compute on the cpu";
}

}  // namespace

size_t weight_bytes(const ModelConfigs& configs, const Ops& ops, const ModelOptions& options) {
  const Outline outline(configs, ops, options);
  return bytes_of(outline.transformer) + bytes_of(outline.others);
}

ModelOptions plan_model(const ModelConfigs& configs, Ops& ops, const WantedModel& wanted) {
  const size_t available = ops.runtime().available();
  ModelOptions options{.precision = wanted.precision.value_or(choose_precision(configs, ops))};
  check_precision(options.precision, ops);
  if (options.precision == Precision::f32) return options;
  options.e4m3_attention = wanted.e4m3_attention.value_or(options.precision == Precision::fp8);
  const std::vector<ModelOptions> ways = ways_to_hold(options, wanted, ops);
  for (const ModelOptions& way : ways) {
    if (fits(configs, ops, way, available)) return way;
  }
  const ModelOptions& smallest = ways.back();
  fail(ErrorCode::out_of_memory, "{} in {}{} needs {:.1f} GiB and {:.1f} GiB are free on {}; {}", configs.name,
       name(options.precision), smallest.masters ? " with merged adapters" : "",
       static_cast<double>(weight_bytes(configs, ops, smallest) + kBeside) / kGiB,
       static_cast<double>(available) / kGiB, ops.runtime().device_name(),
       what_fits(configs, ops, smallest, available));
}

}  // namespace fx
