#include "pipeline/plan.h"

#include <algorithm>

#include "core/error.h"

namespace fx {
namespace {

constexpr int64_t kLarge = 1'000'000'000;      // parameters from which on fp8 is worth its rounding
constexpr size_t kBeside = size_t{4} << 30;    // activations, workspace, slots and the VAE's pictures at 1024 x 1024
constexpr int64_t kRooms[] = {128, 64, 0};     // for adapters up to these ranks: hardly any has more, most have no more, none
constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

size_t bytes_of(const ParamStore& store) {
  size_t total = 0;
  for (const Param& param : store.params()) {
    for (const Tensor& t : {param.tensor, param.scale, param.master, param.next, param.next_scale, param.front, param.down})
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

// What to do about it, in words.
std::string what_fits(const ModelConfigs& configs, const Ops& ops, ModelOptions options, size_t available) {
  options.masters = false;
  using Way = std::pair<Precision, bool>;  // with modulation in e4m3
  for (const auto& [precision, rounded] : {Way{Precision::bf16, false}, {Precision::fp8, false}, {Precision::fp8, true}}) {
    options.precision = precision;
    options.e4m3_modulation = rounded;
    if (fits(configs, ops, options, available)) {
      return fmt::format("precision {} with unmerged adapters{} would fit", name(precision),
                         rounded ? " and modulation in e4m3" : "");
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
  const bool fp8 = options.precision == Precision::fp8;
  options.e4m3_attention = wanted.e4m3_attention.value_or(fp8);
  options.e4m3_modulation = fp8 && wanted.e4m3_modulation.value_or(false);
  options.masters = true;
  // Merged weights are rounded to e4m3 anew for each adapter, which a weak one's change drowns in.
  options.masters = wanted.masters.value_or(!fp8 && fits(configs, ops, options, available));
  // The next adapter is merged while a picture runs, if there is memory for that too.
  options.weight_sets = 2;
  if (!options.masters || !fits(configs, ops, options, available)) options.weight_sets = 1;
  if (!options.masters) options.lora_ranks = wanted.lora_ranks.value_or(kRooms[0]);
  if (fp8 && !wanted.e4m3_modulation) options.e4m3_modulation = !fits(configs, ops, options, available);
  for (const int64_t room : kRooms) {
    if (wanted.lora_ranks || fits(configs, ops, options, available)) break;
    options.lora_ranks = std::min(options.lora_ranks, room);
  }
  check(fits(configs, ops, options, available), ErrorCode::out_of_memory,
        "{} in {}{} needs {:.1f} GiB and {:.1f} GiB are free on {}; {}", configs.name, name(options.precision),
        options.masters ? " with merged adapters" : "",
        static_cast<double>(weight_bytes(configs, ops, options) + kBeside) / kGiB, static_cast<double>(available) / kGiB,
        ops.runtime().device_name(), what_fits(configs, ops, options, available));
  return options;
}

}  // namespace fx
