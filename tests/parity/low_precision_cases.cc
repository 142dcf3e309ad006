// Linear layers in e4m3, mixed types, modulated norms and attention in e4m3, convolutions of a VAE in bf16.
#include "parity/low_precision_cases.h"

#include <cmath>

#include "parity/lora_operand.h"

namespace fx::test {
namespace {

// How the input of a linear layer in e4m3 arrives.
enum class Input { bf16, f32, e4m3 };

struct Fp8Linear {
  std::string name;
  LinearShape s;
  Input input = Input::bf16;
  Activation activation = Activation::none;
  bool weight_only = false, bias = true, gated = false, lora = false;
  bool rows_of_many = false;  // x and y are rows of longer sequences
  int64_t first = 0;          // columns of the first output, if there are two
  std::vector<int32_t> segments = {};
  int64_t mean = 0;    // channels of a mean that x goes without
  bool added = false;  // to y, without a gate
};

void make_x(const Fp8Linear& c, Operands& o) {
  const int64_t extra = c.rows_of_many ? 5 : 0;
  const Shape shape{c.s.batch, c.s.rows + extra, c.s.depth};
  o.view("x_scale", Tensor());
  if (c.input == Input::e4m3) {
    o.quantized("wide", shape);
    const Tensor scale = o["wide_scale"];
    if (scale.defined()) o.view("x_scale", scale.slice(1, extra, extra + c.s.rows));
  } else if (c.weight_only) {
    c.input == Input::f32 ? o.to_round("wide", shape) : o.input("wide", shape);
  } else {
    if (c.input == Input::f32) o.as(DType::f32);
    o.to_quantize("wide", shape, c.lora);  // with an adapter, which sees x before or after that
  }
  o.view("x", o["wide"].slice(1, extra, extra + c.s.rows));
}

void make_y(const Fp8Linear& c, Operands& o) {
  const int64_t second = c.s.columns - c.first, extra = c.rows_of_many ? 3 : 0;
  const Shape shape{c.s.batch, c.s.rows + extra, second};
  const Tensor& joint = c.gated || c.added ? o.in_out("joint", shape) : o.output("joint", shape);
  o.view("y", joint.slice(1, 0, c.s.rows));
  o.view("y0", Tensor());
  if (c.first > 0) o.output("y0", {c.s.batch, c.s.rows, c.first});
}

void make_linear(const Fp8Linear& c, Operands& o) {
  make_x(c, o);
  o.quantized("weight", {c.s.columns, c.s.depth}, 1 / std::sqrt(static_cast<float>(c.s.depth)));
  o.input("bias", {c.s.columns});
  if (c.lora) make_lora(o, {.capacity = 24, .in = c.s.depth, .segments = c.segments, .deviation = 0.5f});
  o.view("gate", o.as(DType::f32).input("table", {3, c.s.batch, 2 * c.s.columns}).slice(2, 0, c.s.columns));
  o.integers("step", {1}, {2});
  o.view("x_mean", c.mean > 0 ? o.input("mean", {c.s.batch, c.mean}, 1, 2) : Tensor());
  make_y(c, o);
}

void run_linear(const Fp8Linear& c, Ops& ops, const Operands& o) {
  LinearArgs args{.x = o["x"],
                  .x_scale = o["x_scale"],
                  .x_mean = o["x_mean"],
                  .weight = o["weight"],
                  .weight_scale = o["weight_scale"],
                  .weight_only = c.weight_only,
                  .bias = c.bias ? o["bias"] : Tensor(),
                  .lora = {},
                  .outputs = {{{o["y"], c.activation}}},
                  .add = c.gated || c.added,
                  .gate = c.gated ? StepVector{o["gate"], o["step"]} : StepVector{}};
  if (c.lora) args.lora = lora_operand(o, c.s.columns);
  if (c.first > 0) args.outputs = {{{o["y0"]}, {o["y"], c.activation}}};
  ops.linear(args);
}

// The yardstick sums f32 and rounds y alone; a weight may be rounded to bf16 with its scale, and low ranks in between.
OpCase fp8_linear(const Fp8Linear& c) {
  return {.name = fmt::format("linear/fp8/{}_b{}_m{}_k{}_n{}", c.name, c.s.batch, c.s.rows, c.s.depth, c.s.columns),
          .make = [c](Operands& o) { make_linear(c, o); },
          .run = [c](Ops& ops, const Operands& o) { run_linear(c, ops, o); },
          .factor = 4};
}

void add_fp8_linear_cases(std::vector<OpCase>& cases) {
  const auto add = [&](const Fp8Linear& c) { cases.push_back(fp8_linear(c)); };
  for (const int64_t rows : {1, 7, 77, 4608}) add({"engine", {1, rows, 64, 96}});
  for (const int64_t rows : {1, 77}) {
    add({"given", {1, rows, 64, 96}, Input::e4m3});
    add({"weight_only", {1, rows, 64, 96}, Input::bf16, Activation::none, true});
    add({"weight_only", {1, rows, 41, 35}, Input::bf16, Activation::silu, true});
  }
  add({"deep", {1, 7, 3072, 48}});
  add({"deep_given", {1, 77, 3072, 48}, Input::e4m3});
  // Not multiples of 16: no product of a library takes them.
  for (const auto& [depth, columns] : {std::pair<int64_t, int64_t>{40, 33}, {64, 33}, {31, 32}, {48, 72}}) {
    for (const int64_t rows : {1, 7, 77}) add({"engine", {1, rows, depth, columns}});
    add({"given", {2, 7, depth, columns}, Input::e4m3, Activation::gelu_tanh});
  }
  add({"no_bias", {1, 77, 64, 96}, Input::bf16, Activation::none, false, false});
  add({"gelu", {1, 77, 64, 96}, Input::bf16, Activation::gelu_tanh});
  add({"gelu_given", {2, 33, 64, 96}, Input::e4m3, Activation::gelu_tanh});
  add({"f32", {1, 33, 64, 96}, Input::f32});
  add({"f32_weight_only", {1, 33, 64, 96}, Input::f32, Activation::none, true});
  for (const Input input : {Input::bf16, Input::e4m3}) {
    const char* label = input == Input::e4m3 ? "gated_given" : "gated";
    add({label, {2, 33, 64, 96}, input, Activation::none, false, true, true});
    add({label, {2, 13, 40, 33}, input, Activation::none, false, true, true});
  }
  add({"gated_weight_only", {2, 13, 64, 96}, Input::bf16, Activation::none, true, true, true});
  for (const bool weight_only : {false, true}) {
    const std::string label = weight_only ? "split_weight_only" : "split";
    for (const int64_t first : {64, 37}) {
      add({.name = label,
           .s = {2, 33, 64, 96 + first},
           .activation = Activation::gelu_tanh,
           .weight_only = weight_only,
           .first = first});
    }
  }
  add({.name = "rows_of_many", .s = {2, 17, 64, 96}, .rows_of_many = true});
  add({.name = "rows_of_many_given", .s = {2, 17, 64, 96}, .input = Input::e4m3, .rows_of_many = true});
  add({.name = "rows_of_many_gated", .s = {2, 17, 64, 96}, .gated = true, .rows_of_many = true});
}

// The mean goes into the bias of a product or of the pass behind it, and is read 16 bytes at a time, or not.
void add_fp8_mean_cases(std::vector<OpCase>& cases) {
  const std::vector<int32_t> qkv = {0, 4, 0, 30, 8, 7, 30, 35, 16, 1, 65, 31};
  const Fp8Linear all[] = {
      {.name = "mean", .s = {2, 33, 64, 96}, .mean = 64},
      {.name = "mean_no_bias", .s = {1, 77, 64, 96}, .bias = false, .mean = 32},
      {.name = "mean_gelu", .s = {2, 33, 64, 96}, .activation = Activation::gelu_tanh, .mean = 64},
      {.name = "mean_given", .s = {2, 33, 64, 96}, .input = Input::e4m3, .mean = 41},
      {.name = "mean_gated", .s = {2, 33, 64, 96}, .gated = true, .mean = 64},
      {.name = "mean_gated_no_bias", .s = {2, 33, 64, 96}, .bias = false, .gated = true, .mean = 48},
      {.name = "mean_gated_odd", .s = {2, 13, 40, 33}, .gated = true, .mean = 17},
      {.name = "mean_gated_of_many", .s = {2, 17, 64, 96}, .gated = true, .rows_of_many = true, .mean = 64},
      {.name = "mean_gated_deep", .s = {2, 130, 4096, 96}, .gated = true, .mean = 3088},
      {.name = "mean_added", .s = {2, 33, 64, 96}, .mean = 64, .added = true},
      {.name = "mean_weight_only_added", .s = {2, 33, 64, 96}, .weight_only = true, .mean = 64, .added = true},
      {.name = "mean_weight_only", .s = {2, 7, 64, 96}, .weight_only = true, .mean = 64},
      {.name = "mean_split", .s = {2, 33, 64, 160}, .activation = Activation::gelu_tanh, .first = 64, .mean = 64},
      {.name = "mean_lora", .s = {2, 40, 64, 96}, .lora = true, .segments = qkv, .mean = 48},
      {.name = "mean_lora_gated", .s = {2, 40, 64, 96}, .gated = true, .lora = true, .segments = qkv, .mean = 64},
      {.name = "mean_lora_none", .s = {2, 40, 64, 96}, .lora = true, .mean = 64},
  };
  for (const Fp8Linear& c : all) cases.push_back(fp8_linear(c));
}

// In a model that is not of e4m3.
OpCase mean_linear(DType dtype) {
  return {.name = fmt::format("linear/{}_mean", name(dtype)),
          .make =
              [=](Operands& o) {
                o.as(dtype).input("x", {2, 31, 64});
                o.as(dtype).input("x_mean", {2, 48}, 1, 2);
                o.as(dtype).input("weight", {96, 64}, 0.125f);
                o.as(dtype).input("bias", {96});
                make_lora(o, {.capacity = 24, .in = 64, .segments = {0, 4, 0, 30, 8, 7, 30, 35}, .dtype = dtype});
                o.as(dtype).output("y", {2, 31, 96});
              },
          .run =
              [](Ops& ops, const Operands& o) {
                ops.linear({.x = o["x"],
                            .x_scale = {},
                            .x_mean = o["x_mean"],
                            .weight = o["weight"],
                            .weight_scale = {},
                            .bias = o["bias"],
                            .lora = lora_operand(o, 96),
                            .outputs = {{{o["y"], Activation::silu}}},
                            .gate = {}});
              },
          .eps = 4e-6,
          .factor = 4};
}

void add_fp8_lora_cases(std::vector<OpCase>& cases) {
  const std::pair<const char*, std::vector<int32_t>> slots[] = {
      {"none", {}},
      {"one", {0, 16, 0, 96}},
      {"qkv", {0, 4, 0, 30, 8, 7, 30, 35, 16, 1, 65, 31}},
      {"overlap", {0, 8, 0, 60, 8, 13, 40, 56}},
      {"shared", {0, 3, 0, 60, 0, 13, 50, 46, 16, 7, 20, 50}},
      {"gap", {8, 2, 10, 20, 16, 3, 33, 1, 0, 5, 7, 0}},
  };
  for (const auto& [label, segments] : slots) {
    Fp8Linear c{.name = std::string("lora_") + label, .s = {2, 40, 64, 96}, .lora = true, .segments = segments};
    cases.push_back(fp8_linear(c));
    c.name += "_given", c.input = Input::e4m3;
    cases.push_back(fp8_linear(c));
    c.name = std::string("lora_weight_only_") + label, c.input = Input::bf16, c.weight_only = true;
    cases.push_back(fp8_linear(c));
  }
  Fp8Linear c{.name = "lora_gated", .s = {2, 3, 64, 96}, .gated = true, .lora = true, .segments = slots[2].second};
  cases.push_back(fp8_linear(c));
  c.name = "lora_odd", c.s = {2, 13, 40, 99}, c.activation = Activation::gelu_tanh, c.gated = false;
  cases.push_back(fp8_linear(c));
  c.name = "lora_split", c.s = {1, 77, 64, 96}, c.first = 32;
  cases.push_back(fp8_linear(c));
}

// Inputs or outputs of f32 around a layer in bf16.
OpCase mixed_linear(const char* label, const LinearShape& s, bool x_f32, bool y_f32) {
  OpCase c = linear_case(fmt::format("linear/{}_m{}_k{}_n{}", label, s.rows, s.depth, s.columns), s, Activation::silu);
  c.make = [=](Operands& o) {
    x_f32 ? o.to_round("x", {s.batch, s.rows, s.depth}) : o.input("x", {s.batch, s.rows, s.depth});
    o.input("weight", {s.columns, s.depth}, 1 / std::sqrt(static_cast<float>(s.depth)));
    o.input("bias", {s.columns});
    if (y_f32) o.as(DType::f32);
    o.output("y", {s.batch, s.rows, s.columns});
  };
  return c;
}

OpCase converting_copy(DType from, DType to, bool strided) {
  return {.name = fmt::format("copy/{}_to_{}{}", name(from), name(to), strided ? "_strided" : ""),
          .make =
              [=](Operands& o) {
                const Tensor& x = o.as(from).input("wide", {3, 31, 40});
                o.view("x", strided ? x.slice(2, 3, 36).transpose(1, 2) : x);
                o.as(to).output("y", o["x"].shape());
              },
          .run = [](Ops& ops, const Operands& o) { ops.copy({.x = o["x"], .y = o["y"]}); }};
}

OpCase quantized_modulation(int64_t batch, int64_t rows, int64_t channels, float size = 1, float mean = 0) {
  return {.name = fmt::format("ln_modulate/e4m3/b{}_l{}_c{}_x{}_m{}", batch, rows, channels, size, mean),
          .make =
              [=](Operands& o) {
                o.view("x", o.input("sequence", {batch, rows + 4, channels}, size, mean).slice(1, 2, 2 + rows));
                const Tensor& table = o.as(DType::f32).input("table", {4, batch, 6 * channels});
                o.view("shift", table.slice(2, 3 * channels, 4 * channels));
                o.view("scale", table.slice(2, 4 * channels, 5 * channels));
                o.integers("step", {1}, {3});
                o.output("y", {batch, rows, channels});
                // Rows of a longer sequence, as the stream of images has them.
                o.view("y8", o.quantized_output("joint", {batch, rows + 3, channels}).slice(1, 2, 2 + rows));
                o.view("y8_scale", o["joint_scale"].slice(1, 2, 2 + rows));
              },
          .run =
              [](Ops& ops, const Operands& o) {
                const StepVector shift{o["shift"], o["step"]}, scale{o["scale"], o["step"]};
                ops.ln_modulate({.x = o["x"], .shift = shift, .scale = scale, .y = o["y"], .y_scale = {}});
                ops.ln_modulate({.x = o["x"], .shift = shift, .scale = scale, .y = o["y8"], .y_scale = o["y8_scale"]});
              },
          .eps = 4e-6,
          .judge =
              [=](const Operands& run, const Operands& truth) {
                const WrittenRows found(run, "joint");
                const std::vector<float> y = truth.owned("y").values();
                std::string wrong;
                for (int64_t i = 0; wrong.empty() && i < batch * rows; ++i) {
                  const int64_t row = i / rows * (rows + 3) + 2 + i % rows;
                  wrong = wrong_values(found, row, &y[static_cast<size_t>(i * channels)], 1e-6);
                }
                return wrong;
              }};
}

// Values of one sign: their sum grows large beside each of them.
struct ValuesOf {
  float mean = 0;
  double tolerance = 0.08;
};

OpCase attention_in_e4m3(const std::string& name, int64_t batch, int64_t tokens, int64_t heads, ValuesOf values = {}) {
  constexpr int64_t kHead = 128;
  return {.name = name,
          .make =
              [=](Operands& o) {
                // As a single block has them: slices of one buffer.
                const int64_t hidden = heads * kHead;
                const Shape shape{batch, tokens, heads, kHead};
                const Tensor qkv = o.input("qkv", {batch, tokens, 3 * hidden});
                for (int64_t i = 0; i < 3; ++i) {
                  const Tensor part = qkv.slice(2, i * hidden, (i + 1) * hidden);
                  if (i < 2 || values.mean == 0) o.view(std::string(1, "qkv"[i]), part.reshape(shape));
                }
                if (values.mean != 0) o.input("v", shape, 1, values.mean);
                o.output("o", shape);
                o.buffers().back().judged_by_case = true;
              },
          .run =
              [](Ops& ops, const Operands& o) {
                ops.attention({.q = o["q"],
                               .k = o["k"],
                               .v = o["v"],
                               .o = o["o"],
                               .bias = {},
                               .e4m3 = o["q"].dtype() == DType::bf16,
                               .scale = 1 / std::sqrt(static_cast<float>(kHead))});
              },
          .judge =
              [=](const Operands& run, const Operands& truth) {
                const double found = relative_error(run.owned("o"), truth.owned("o"));
                return found < values.tolerance
                           ? ""
                           : fmt::format("relative error {}, expected less than {}", found, values.tolerance);
              }};
}

}  // namespace

OpCase e4m3_attention_case() { return attention_in_e4m3("attention/e4m3/b1_l256_h2", 1, 256, 2); }

std::vector<OpCase> low_precision_cases() {
  std::vector<OpCase> cases;
  add_fp8_linear_cases(cases);
  add_fp8_lora_cases(cases);
  add_fp8_mean_cases(cases);
  cases.push_back(mean_linear(DType::bf16));
  cases.push_back(mean_linear(DType::f32));
  cases.push_back(mixed_linear("f32_in", {1, 33, 64, 96}, true, false));
  cases.push_back(mixed_linear("f32_in", {2, 1, 31, 33}, true, false));
  cases.push_back(mixed_linear("f32_out", {1, 33, 64, 96}, false, true));
  cases.push_back(mixed_linear("f32_out", {2, 7, 31, 33}, false, true));
  cases.push_back(mixed_linear("f32_in_out", {3, 5, 64, 96}, true, true));
  for (const DType from : {DType::f32, DType::bf16, DType::f16}) {
    for (const DType to : {DType::f32, DType::bf16, DType::f16}) {
      for (const bool strided : {false, true}) {
        if (from != to) cases.push_back(converting_copy(from, to, strided));
      }
    }
  }
  cases.push_back(quantized_modulation(1, 1, 64));
  cases.push_back(quantized_modulation(1, 31, 100));
  cases.push_back(quantized_modulation(3, 77, 5));
  cases.push_back(quantized_modulation(2, 33, 3072));
  cases.push_back(quantized_modulation(1, 1100, 3072));  // several rows for each block of a large GPU
  cases.push_back(quantized_modulation(1, 9, 96, 1e4f));
  cases.push_back(quantized_modulation(1, 9, 96, 1, 30));
  cases.push_back(quantized_modulation(2, 9, 96, 0));
  cases.push_back(e4m3_attention_case());
  cases.push_back(attention_in_e4m3("attention/e4m3/b2_l333_h3", 2, 333, 3));
  cases.push_back(attention_in_e4m3("attention/e4m3/b1_l77_h1", 1, 77, 1));
  cases.push_back(attention_in_e4m3("attention/e4m3/b1_l5_h1", 1, 5, 1));
  cases.push_back(attention_in_e4m3("attention/e4m3/b2_l1500_h1_mean", 2, 1500, 1, {3, 0.005}));
  cases.push_back(conv_case("conv2d/bf16/16_to_32", {1, 33, 31, 16, 32, 3}));
  cases.push_back(conv_case("conv2d/bf16/32_to_3", {2, 16, 24, 32, 3, 3}));
  cases.push_back(conv_case("conv2d/bf16/add", {1, 24, 16, 32, 64, 3, 1, 1, 1, true}));
  cases.push_back(conv_case("conv2d/bf16/stride2", {1, 16, 18, 32, 32, 3, 2, 0, 1}));
  return cases;
}

}  // namespace fx::test
