#include "bench_profile.h"

#include <algorithm>

#include "pipeline/stop_watch.h"

namespace fx::cli {
namespace {

constexpr int kRecordedRepeats = 20, kIssuedRepeats = 4;

}  // namespace

double ProfilingOps::seconds_each(const std::function<void()>& call) {
  Runtime& runtime = inner_.runtime();
  call();  // the first call with a shape may allocate
  const int repeats = runtime.records() ? kRecordedRepeats : kIssuedRepeats;
  const auto all = [&] {
    for (int i = 0; i < repeats; ++i) call();
  };
  const std::unique_ptr<Recording> recording = runtime.records() ? runtime.record(all) : nullptr;
  if (recording) recording->replay();  // so that the timed launch finds it on the device
  runtime.synchronize();
  StopWatch watch;
  if (recording) recording->replay();
  else all();
  runtime.synchronize();
  return watch.lap() / repeats;
}

void ProfilingOps::note(const OpCost& cost, double seconds) {
  OpTotal& total = totals_[cost.name];
  total.cost = cost;
  ++total.calls;
  total.seconds += seconds;
}

template <class Args>
void ProfilingOps::time(void (Ops::*op)(const Args&), const Args& args, const OpCost& cost) {
  Ops& inner = inner_;
  if (timing_) note(cost, seconds_each([&inner, op, &args] { (inner.*op)(args); }));
  else (inner.*op)(args);
}

template <class Args>
void ProfilingOps::time_once(void (Ops::*op)(const Args&), const Args& args, const OpCost& cost) {
  inner_.runtime().synchronize();
  StopWatch watch;
  (inner_.*op)(args);
  if (!timing_) return;
  inner_.runtime().synchronize();
  note(cost, watch.lap());
}

std::vector<OpTotal> ProfilingOps::totals() const {
  std::vector<OpTotal> sorted;
  for (const auto& [name, total] : totals_) sorted.push_back(total);
  std::ranges::sort(sorted, std::greater{}, &OpTotal::seconds);
  return sorted;
}

void ProfilingOps::do_linear(const LinearArgs& args) { time(&Ops::linear, args, cost_of(args)); }
void ProfilingOps::do_attention(const AttentionArgs& args) { time(&Ops::attention, args, cost_of(args)); }
void ProfilingOps::do_conv2d(const Conv2dArgs& args) { time(&Ops::conv2d, args, cost_of(args)); }
void ProfilingOps::do_quantize_rows(const QuantizeRowsArgs& args) {
  time(&Ops::quantize_rows, args, cost_of("quantize_rows", {args.x}, {args.y, args.scale}));
}
void ProfilingOps::do_merge_lora(const MergeLoraArgs& args) { time(&Ops::merge_lora, args, cost_of(args)); }
void ProfilingOps::do_fold_lora(const FoldLoraArgs& args) { time(&Ops::fold_lora, args, cost_of(args)); }
void ProfilingOps::do_ln_modulate(const LnModulateArgs& args) {
  time(&Ops::ln_modulate, args,
       cost_of("ln_modulate", {args.x, row_of(args.shift), row_of(args.scale)}, {args.y, args.y_scale}));
}
void ProfilingOps::do_layer_norm(const LayerNormArgs& args) {
  time(&Ops::layer_norm, args, cost_of("layer_norm", {args.x, args.gain, args.bias}, {args.y}));
}
void ProfilingOps::do_rms_norm(const RmsNormArgs& args) {
  time(&Ops::rms_norm, args, cost_of("rms_norm", {args.x, args.gain}, {args.y}));
}
void ProfilingOps::do_qk_norm_rope(const QkNormRopeArgs& args) { time(&Ops::qk_norm_rope, args, cost_of(args)); }
void ProfilingOps::do_group_norm(const GroupNormArgs& args) {
  time(&Ops::group_norm, args, cost_of("group_norm", {args.x, args.gain, args.bias}, {args.y}));
}
void ProfilingOps::do_activate(const ActivateArgs& args) {
  time(&Ops::activate, args, cost_of("activate", {args.x}, {args.y}));
}
void ProfilingOps::do_add(const BinaryArgs& args) { time(&Ops::add, args, cost_of("add", {args.a, args.b}, {args.y})); }
void ProfilingOps::do_multiply(const BinaryArgs& args) {
  time(&Ops::multiply, args, cost_of("multiply", {args.a, args.b}, {args.y}));
}
void ProfilingOps::do_copy(const CopyArgs& args) { time(&Ops::copy, args, cost_of("copy", {args.x}, {args.y})); }
void ProfilingOps::do_embed_rows(const EmbedRowsArgs& args) { time(&Ops::embed_rows, args, cost_of(args)); }
void ProfilingOps::do_timestep_embedding(const TimestepEmbeddingArgs& args) {
  time(&Ops::timestep_embedding, args, cost_of("timestep_embedding", {args.t}, {args.y}));
}
void ProfilingOps::do_unpack_latents(const LatentLayoutArgs& args) {
  time(&Ops::unpack_latents, args, cost_of("unpack_latents", {args.packed}, {args.latents}));
}
void ProfilingOps::do_pack_latents(const LatentLayoutArgs& args) {
  time(&Ops::pack_latents, args, cost_of("pack_latents", {args.latents}, {args.packed}));
}
void ProfilingOps::do_upsample2x(const Upsample2xArgs& args) {
  time(&Ops::upsample2x, args, cost_of("upsample2x", {args.x}, {args.y}));
}
void ProfilingOps::do_to_rgb8(const ToRgb8Args& args) {
  time(&Ops::to_rgb8, args, cost_of("to_rgb8", {args.x}, {args.y}));
}
void ProfilingOps::do_euler_step(const EulerStepArgs& args) {
  time_once(&Ops::euler_step, args, cost_of("euler_step", {args.sample, args.velocity}, {args.sample}));
}
void ProfilingOps::do_advance_step(const AdvanceStepArgs& args) {
  time_once(&Ops::advance_step, args, cost_of("advance_step", {args.step}, {args.step}));
}

}  // namespace fx::cli
