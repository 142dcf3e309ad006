// Adapters in the fronts of weights in e4m3: fold_lora, and linear with what it has made.
#include <cmath>
#include <cstring>

#include "parity/lora_operand.h"
#include "parity/low_precision_cases.h"

namespace fx::test {
namespace {

constexpr float kLargest = 14;  // of a row of a weight: room above for an adapter, as nn/params.h leaves it

struct FrontLinear {
  std::string name;
  LinearShape s;
  std::vector<int32_t> segments;  // four numbers each
  int64_t front = 32, capacity = 32;
  float strength = 0.3f;  // |difference| / |weight|, where all ranks feed a row
  bool given = false;     // x comes in e4m3
  Activation activation = Activation::none;
  bool gated = false;
  bool of_many = false;  // rows are some of longer sequences; where given, with a wider front than this layer has
  bool f32 = false;      // what y is, where nothing else is rounded
  int64_t first = 0;     // columns of the first output, if there are two
  bool fits = true;      // the adapter's ranks lie within the front
  int64_t used = 0;      // columns that the product takes; 0 is all
  int64_t reach = -1;    // of the adapter, where that is not to be looked at
  int64_t mean = 0;      // channels of a mean that x goes without
};

// One output, and the same without the adapter.
void make_output(const FrontLinear& c, const std::string& name, int64_t columns, Operands& o) {
  const Shape shape{c.s.batch, c.s.rows, columns};
  for (const std::string& each : {name, name + "_base"}) {
    if (c.f32) o.as(DType::f32);
    c.gated ? o.in_out(each, shape) : o.output(each, shape);
    if (each == name) o.buffers().back().judged_by_case = true;
  }
  const Tensor &y = o[name], &base = o[name + "_base"];
  if (c.gated) std::memcpy(base.raw(), y.raw(), static_cast<size_t>(y.bytes()));
}

void make_x(const FrontLinear& c, Operands& o) {
  const int64_t rows = c.of_many ? c.s.rows + 5 : c.s.rows, first = rows - c.s.rows, more = c.of_many ? 16 : 0;
  if (!c.given) {
    o.to_quantize("x", {c.s.batch, rows, c.s.depth}, true);
    o.view("x_front", Tensor());
  } else {
    o.with_front("x", {c.s.batch, rows, c.s.depth}, c.front + more, 1, 448);
    const Tensor front = o["x_front"], scale = o["x_scale"];
    if (front.defined()) o.view("x_front", front.slice(1, first, rows).slice(2, more, more + c.front));
    if (scale.defined()) o.view("x_scale", scale.slice(1, first, rows));
  }
  o.view("x", Tensor(o["x"]).slice(1, first, rows));
}

void make_front(const FrontLinear& c, Operands& o) {
  const float depth = 1 / std::sqrt(static_cast<float>(c.s.depth));
  make_x(c, o);
  o.with_front("weight", {c.s.columns, c.s.depth}, c.front, depth, kLargest);
  o.input("bias", {c.s.columns});
  make_lora(o, {.capacity = c.capacity,
                .in = c.s.depth,
                .segments = c.segments,
                .deviation = c.strength / std::sqrt(static_cast<float>(c.capacity))});
  o.output("down", {c.front, c.s.depth}, DType::f8_e4m3);
  std::memset(o["down"].raw(), 0x7f, static_cast<size_t>(o["down"].bytes()));
  o.buffers().back().judged_by_case = true;
  o.as(DType::f32).output("column_scale", {c.front});
  o.buffers().back().judged_by_case = true;
  o.as(DType::f32).in_out("room", {1});
  o.set("room", 0, INFINITY);
  o.buffers().back().judged_by_case = true;
  o.integers("reach", {1}, {0});
  o.buffers().back().written = o.buffers().back().judged_by_case = true;
  o.view("gate", o.as(DType::f32).input("table", {3, c.s.batch, 2 * c.s.columns}).slice(2, 0, c.s.columns));
  o.integers("step", {1}, {2});
  o.view("x_mean", c.mean > 0 ? o.input("mean", {c.s.batch, c.mean}) : Tensor());
  if (c.first > 0) make_output(c, "y0", c.first, o);
  make_output(c, "y", c.s.columns - c.first, o);
}

// Both halves of an adapter; without an operand, of none.
void fold(Ops& ops, const Operands& o, const LoraOperand& lora) {
  ops.fold_lora({.lora = lora,
                 .weight_scale = o["weight_scale"],
                 .weight_front = o["weight_front"],
                 .weight_down = o["down"],
                 .column_scale = o["column_scale"],
                 .room = lora.defined() ? o["room"] : Tensor(),
                 .reach = lora.defined() ? o["reach"] : Tensor()});
}

// Without the adapter, then with it: in the front where it fits and the device multiplies in e4m3, else beside the weight.
void run_front(const FrontLinear& c, Ops& ops, const Operands& o) {
  LinearArgs args{.x = o["x"],
                  .x_scale = o["x_scale"],
                  .x_mean = o["x_mean"],
                  .x_front = o["x_front"],
                  .weight = o["weight"],
                  .weight_scale = o["weight_scale"],
                  .weight_front = o["weight_front"],
                  .weight_down = o["weight_front"].defined() ? o["down"] : Tensor(),
                  .bias = o["bias"],
                  .lora = {},
                  .outputs = {{{o["y_base"], c.activation}}},
                  .add = c.gated,
                  .gate = c.gated ? StepVector{o["gate"], o["step"]} : StepVector{}};
  const bool front = args.weight_front.defined(), multiplies = front && ops.multiplies_in(DType::f8_e4m3);
  if (front) fold(ops, o, {});
  const int64_t columns = c.used > 0 ? c.used : c.front;
  // No adapter in the front is none, bitwise where the columns are the same.
  const bool adds = !c.segments.empty() && c.segments[1] > 0;
  if (multiplies && (c.given || !adds)) args.front_columns = columns;
  if (c.first > 0) args.outputs = {{{o["y0_base"]}, {o["y_base"], c.activation}}};
  ops.linear(args);

  const LoraOperand lora = lora_operand(o, c.s.columns);
  if (front) fold(ops, o, lora);
  const bool in_front = multiplies && c.fits;
  args.front_columns = in_front ? columns : 0;
  args.lora = in_front ? LoraOperand() : lora;
  args.outputs = {{{o["y"], c.activation}}};
  if (c.first > 0) args.outputs = {{{o["y0"]}, {o["y"], c.activation}}};
  ops.linear(args);
}

// The adapter's share of an output: how much of it has arrived, and how far off it is.
std::string wrong_difference(const FrontLinear& c, const std::string& name, const Operands& run,
                             const Operands& truth) {
  const auto found = run.owned(name).values(), found_base = run.owned(name + "_base").values();
  const auto right = truth.owned(name).values(), right_base = truth.owned(name + "_base").values();
  double product = 0, squares = 0, errors = 0, all = 0;
  for (size_t i = 0; i < right.size(); ++i) {
    const double difference = static_cast<double>(right[i]) - right_base[i];
    const double arrived = static_cast<double>(found[i]) - found_base[i];
    if (!std::isfinite(arrived)) return fmt::format("{} [{}]: {}", name, i, found[i]);
    product += arrived * difference;
    squares += difference * difference;
    errors += (arrived - difference) * (arrived - difference);
    all += static_cast<double>(right_base[i]) * right_base[i];
  }
  if (squares == 0) return errors == 0 ? "" : name + " differs from what it is without an adapter";
  // e4m3 on both sides and between them; beside it the rounding of both outputs, and what the sum of the product loses.
  const double share = product / squares, error = std::sqrt(errors / squares);
  const double noise = (c.f32 ? 0x1p-10 : 0x1p-8) * std::sqrt(all / squares), allowed = 0.06 + noise;
  if (std::abs(share - 1) <= 0.03 + noise / std::sqrt(static_cast<double>(right.size())) && error <= allowed) return "";
  return fmt::format("{}: {} of the difference has arrived, with an error of {}; expected 1 and {}", name, share, error,
                     allowed);
}

// Each rank of a segment that feeds rows has a scale in its column, no other column has.
std::string misplaced_rank(const FrontLinear& c, const std::vector<float>& scales) {
  std::vector<bool> used(scales.size());
  for (size_t i = 0; i + 3 < c.segments.size(); i += 4) {
    for (int32_t r = 0; r < c.segments[i + 1] && c.segments[i + 3] > 0; ++r) {
      used[static_cast<size_t>(front_column(c.segments[i] + r, c.front))] = true;
    }
  }
  for (size_t e = 0; e < scales.size(); ++e) {
    if ((scales[e] > 0) != used[e]) return fmt::format("column {} of {} has the scale {}", e, scales.size(), scales[e]);
  }
  return "";
}

std::string judge_front(const FrontLinear& c, const Operands& run, const Operands& truth) {
  if (run["weight_front"].defined()) {
    const float room = run.owned("room").values()[0];
    if (!(c.fits ? room >= 1 : room == 0))
      return fmt::format("room {}, the adapter {}", room, c.fits ? "fits" : "does not fit");
    const int32_t reach = run["reach"].i32()[0];
    const std::string misplaced = c.fits ? misplaced_rank(c, run.owned("column_scale").values()) : "";
    if (!misplaced.empty()) return misplaced;
    if (c.reach >= 0 && reach != c.reach) return fmt::format("reach {}, expected {}", reach, c.reach);
  }
  const std::string wrong = c.first > 0 ? wrong_difference(c, "y0", run, truth) : "";
  return wrong.empty() ? wrong_difference(c, "y", run, truth) : wrong;
}

}  // namespace

std::vector<OpCase> front_cases() {
  const std::vector<int32_t> none, one = {0, 16, 0, 96}, qkv = {0, 4, 0, 32, 8, 7, 32, 32, 16, 13, 64, 32},
                                   gaps = {8, 2, 10, 20, 24, 4, 33, 1}, overlap = {0, 8, 0, 60, 8, 16, 40, 56},
                                   shared = {0, 8, 0, 30, 0, 5, 50, 40}, empty = {0, 0, 0, 96, 8, 5, 3, 0};
  std::vector<FrontLinear> all;
  for (const bool given : {false, true}) {
    const std::string label = given ? "given_" : "";
    const auto add = [&](FrontLinear c) {
      c.name = label + c.name;
      c.given = given;
      all.push_back(c);
    };
    add({.name = "none", .s = {2, 40, 64, 96}, .segments = none, .reach = 0});
    add({.name = "empty", .s = {2, 40, 64, 96}, .segments = empty, .reach = 0});
    add({.name = "one", .s = {2, 40, 64, 96}, .segments = one, .reach = 16});
    add({.name = "narrow", .s = {2, 40, 64, 96}, .segments = one, .front = 128, .used = 16, .reach = 16});
    add({.name = "narrow_qkv", .s = {2, 40, 64, 96}, .segments = qkv, .front = 128, .used = 64, .reach = 32});
    add({.name = "narrow_gated",
         .s = {1, 131, 64, 96},
         .segments = gaps,
         .front = 128,
         .gated = true,
         .used = 32,
         .reach = 24});
    add({.name = "second_half",
         .s = {1, 131, 64, 96},
         .segments = {24, 2, 0, 96},
         .front = 48,
         .used = 32,
         .reach = 24});
    add({.name = "qkv", .s = {2, 40, 64, 96}, .segments = qkv});
    add({.name = "gaps", .s = {1, 71, 64, 96}, .segments = gaps});
    add({.name = "overlap", .s = {1, 131, 64, 96}, .segments = overlap});
    add({.name = "shared", .s = {1, 77, 64, 96}, .segments = shared});
    add({.name = "one_row", .s = {2, 1, 64, 96}, .segments = qkv});
    add({.name = "beyond", .s = {2, 40, 64, 96}, .segments = qkv, .front = 16, .fits = false});
    add({.name = "beyond_unused", .s = {2, 40, 64, 96}, .segments = one, .front = 16});
    add({.name = "gated", .s = {2, 33, 64, 96}, .segments = qkv, .gated = true});
    add({.name = "gelu", .s = {2, 33, 64, 96}, .segments = one, .activation = Activation::gelu_tanh});
    add({.name = "silu", .s = {1, 33, 64, 96}, .segments = one, .activation = Activation::silu});
    add({.name = "split", .s = {2, 33, 64, 160}, .segments = qkv, .activation = Activation::gelu_tanh, .first = 64});
    add({.name = "of_many", .s = {2, 21, 64, 96}, .segments = qkv, .of_many = true});
    add({.name = "of_many_gated", .s = {2, 21, 64, 96}, .segments = one, .gated = true, .of_many = true});
    add({.name = "odd_capacity", .s = {2, 13, 64, 96}, .segments = one, .capacity = 17});
    add({.name = "wide",
         .s = {1, 200, 512, 96},
         .segments = {0, 100, 0, 50, 304, 40, 30, 66},
         .front = 384,
         .capacity = 512});
    add({.name = "deep", .s = {1, 300, 3072, 96}, .segments = one});
    add({.name = "deepest", .s = {1, 64, 15360, 96}, .segments = {0, 128, 0, 96}, .front = 128, .capacity = 128});
    add({.name = "deepest_wide", .s = {1, 64, 15360, 96}, .segments = {0, 512, 0, 96}, .front = 512, .capacity = 512});
    add({.name = "mean", .s = {2, 40, 64, 96}, .segments = one, .mean = 64});
    add({.name = "mean_odd", .s = {2, 40, 64, 96}, .segments = qkv, .gated = true, .mean = 37});
    add({.name = "mean_narrow",
         .s = {2, 40, 64, 96},
         .segments = qkv,
         .front = 128,
         .gated = true,
         .used = 64,
         .mean = 48});
    add({.name = "mean_deep",
         .s = {2, 64, 15360, 96},
         .segments = {0, 128, 0, 96},
         .front = 128,
         .capacity = 128,
         .gated = true,
         .mean = 3072});
    // As strong and as weak as adapters are.
    add({.name = "strong", .s = {1, 64, 3072, 96}, .segments = {0, 1, 0, 96}, .strength = 1.5f});
    add({.name = "weak", .s = {1, 300, 3072, 96}, .segments = one, .strength = 0.005f, .f32 = true});
  }
  std::vector<OpCase> cases;
  for (const FrontLinear& c : all) {
    cases.push_back({.name = fmt::format("linear/fp8_front/{}_b{}_m{}_k{}_n{}", c.name, c.s.batch, c.s.rows, c.s.depth,
                                         c.s.columns),
                     .make = [c](Operands& o) { make_front(c, o); },
                     .run = [c](Ops& ops, const Operands& o) { run_front(c, ops, o); },
                     .eps = c.f32 ? 1e-2 : 1e-6,  // what sums of products in e4m3 lose on a GPU
                     .factor = 4,
                     .judge = [c](const Operands& run, const Operands& truth) { return judge_front(c, run, truth); }});
  }
  return cases;
}

}  // namespace fx::test
