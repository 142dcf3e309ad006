#include <cmath>

#include "parity/lora_operand.h"
#include "parity/op_case.h"

namespace fx::test {
namespace {

float weight_deviation(int64_t depth) { return 1 / std::sqrt(static_cast<float>(depth)); }

StepVector gate_of(const Operands& o) { return {o["gate"], o["step"]}; }

OpCase strided_case(const std::string& name, int64_t batch, int64_t rows, int64_t depth, int64_t columns) {
  return {
      .name = "linear/strided/" + name,
      .make =
          [=](Operands& o) {
            // x is a slice of wider rows, and y the middle of a longer sequence: neither collapses over the batch.
            o.view("x", o.input("wide", {batch, rows + 3, depth + 24}).slice(1, 2, 2 + rows).slice(2, 8, 8 + depth));
            o.input("weight", {columns, depth}, weight_deviation(depth));
            o.view("y",
                   o.output("joint", {batch, rows + 5, columns + 7}).slice(1, 4, 4 + rows).slice(2, 3, 3 + columns));
          },
      .run =
          [](Ops& ops, const Operands& o) {
            ops.linear(
                {.x = o["x"], .weight = o["weight"], .bias = {}, .lora = {}, .outputs = {{{o["y"]}}}, .gate = {}});
          }};
}

// y += gate * (...), with the gate a slice of a modulation table.
OpCase gated_case(const std::string& name, int64_t batch, int64_t rows, int64_t depth, int64_t columns, bool gated,
                  Activation activation = Activation::none) {
  return {.name = "linear/add/" + name,
          .make =
              [=](Operands& o) {
                o.input("x", {batch, rows, depth});
                o.input("weight", {columns, depth}, weight_deviation(depth));
                o.input("bias", {columns});
                o.in_out("y", {batch, rows, columns});
                const Tensor& table = o.as(DType::f32).input("table", {3, batch, 6 * columns});
                o.view("gate", table.slice(2, 2 * columns, 3 * columns));
                o.integers("step", {1}, {2});
              },
          .run =
              [=](Ops& ops, const Operands& o) {
                ops.linear({.x = o["x"],
                            .weight = o["weight"],
                            .bias = o["bias"],
                            .lora = {},
                            .outputs = {{{o["y"], activation}}},
                            .add = true,
                            .gate = gated ? gate_of(o) : StepVector{}});
              }};
}

// Like linear1 of a single block: qkv without, mlp with activation, into two places.
OpCase split_case(const std::string& name, int64_t batch, int64_t rows, int64_t depth, int64_t first, int64_t second) {
  return {.name = "linear/split/" + name,
          .make =
              [=](Operands& o) {
                o.input("x", {batch, rows, depth});
                o.input("weight", {first + second, depth}, weight_deviation(depth));
                o.input("bias", {first + second});
                o.output("y0", {batch, rows, first});
                o.view("y1", o.output("joint", {batch, rows, 5 + second}).slice(2, 5, 5 + second));
              },
          .run =
              [](Ops& ops, const Operands& o) {
                ops.linear({.x = o["x"],
                            .weight = o["weight"],
                            .bias = o["bias"],
                            .lora = {},
                            .outputs = {{{o["y0"]}, {o["y1"], Activation::gelu_tanh}}},
                            .gate = {}});
              }};
}

OpCase scaled_case(const std::string& name, float size) {
  OpCase c = linear_case("linear/" + name, {1, 33, 96, 40}, Activation::none);
  c.make = [size](Operands& o) {
    o.input("x", {1, 33, 96}, size);
    o.input("weight", {40, 96}, size);
    o.input("bias", {40}, size);
    o.output("y", {1, 33, 40});
  };
  return c;
}

}  // namespace

OpCase linear_case(const std::string& name, const LinearShape& s, Activation activation) {
  return {.name = name,
          .make =
              [=](Operands& o) {
                o.input("x", {s.batch, s.rows, s.depth});
                o.input("weight", {s.columns, s.depth}, weight_deviation(s.depth));
                o.input("bias", {s.columns});
                o.output("y", {s.batch, s.rows, s.columns});
              },
          .run =
              [=](Ops& ops, const Operands& o) {
                ops.linear({.x = o["x"],
                            .weight = o["weight"],
                            .bias = o["bias"],
                            .lora = {},
                            .outputs = {{{o["y"], activation}}},
                            .gate = {}});
              },
          .flops = 2.0 * static_cast<double>(s.batch * s.rows * s.depth * s.columns)};
}

std::vector<OpCase> linear_cases() {
  std::vector<OpCase> cases;
  for (const int64_t rows : {1, 2, 3, 5, 6, 7, 12, 31, 33, 77, 511}) {
    cases.push_back(linear_case(fmt::format("linear/m{}_k64_n96", rows), {1, rows, 64, 96}, Activation::none));
    cases.push_back(linear_case(fmt::format("linear/b3_m{}_k31_n33", rows), {3, rows, 31, 33}, Activation::silu));
  }
  const std::pair<const char*, Activation> activations[] = {{"silu", Activation::silu},
                                                            {"gelu_tanh", Activation::gelu_tanh},
                                                            {"gelu_erf", Activation::gelu_erf},
                                                            {"quick_gelu", Activation::quick_gelu}};
  for (const auto& [label, activation] : activations) {
    cases.push_back(linear_case(fmt::format("linear/m33_k77_n70/{}", label), {1, 33, 77, 70}, activation));
  }
  cases.push_back(linear_case("linear/deep_m14_k1300_n40", {1, 14, 1300, 40}, Activation::none));
  cases.push_back(linear_case("linear/deep_m20_k3072_n35", {1, 20, 3072, 35}, Activation::none));
  cases.push_back(linear_case("linear/wide_m70_k24_n1100", {1, 70, 24, 1100}, Activation::none));
  cases.push_back(linear_case("linear/batch_of_rows_b20_m1", {20, 1, 48, 100}, Activation::silu));
  cases.push_back(linear_case("linear/k1_n1", {1, 9, 1, 1}, Activation::none));
  cases.push_back(strided_case("b1", 1, 31, 40, 50));
  cases.push_back(strided_case("b3", 3, 33, 64, 96));
  cases.push_back(strided_case("b3_few", 3, 1, 64, 96));
  cases.push_back(gated_case("b1", 1, 33, 40, 70, true));
  cases.push_back(gated_case("b3", 3, 31, 64, 96, true));
  cases.push_back(gated_case("b3_few", 3, 1, 64, 50, true));
  cases.push_back(gated_case("no_gate", 3, 13, 64, 33, false));
  cases.push_back(gated_case("activation", 1, 40, 64, 64, true, Activation::gelu_tanh));
  cases.push_back(split_case("aligned", 1, 33, 64, 96, 128));
  cases.push_back(split_case("odd", 3, 31, 50, 150, 77));
  cases.push_back(scaled_case("large", 1e4f));
  cases.push_back(scaled_case("zeros", 0));
  cases.push_back(linear_case("linear/threads_m200_k200_n600", {1, 200, 200, 600}, Activation::none));
  cases.push_back(linear_case("linear/threads_m600_k128_n16", {2, 300, 128, 16}, Activation::none));
  return cases;
}

std::vector<OpCase> lora_cases() {
  struct Lora {
    const char* name;
    int64_t rows;
    std::vector<int32_t> segments;  // four numbers each
    bool add;
  };
  // 24 ranks of capacity, 100 rows of weight.
  const Lora list[] = {
      {"none", 40, {}, false},
      {"one", 40, {0, 16, 0, 100}, false},
      {"one_few_rows", 3, {0, 16, 0, 100}, false},
      {"slice", 40, {0, 4, 30, 50}, false},
      {"empty", 40, {0, 0, 0, 100, 8, 5, 7, 0}, false},
      {"empty_between", 40, {0, 3, 0, 60, 8, 5, 7, 0, 16, 7, 50, 50}, false},
      {"qkv", 77, {0, 4, 0, 30, 8, 7, 30, 35, 16, 1, 65, 35}, false},
      {"overlap", 40, {0, 8, 0, 60, 8, 13, 40, 60}, false},
      {"shared", 40, {0, 3, 0, 60, 0, 13, 50, 50}, false},
      {"same_rows", 40, {0, 3, 20, 30, 8, 7, 20, 30, 16, 8, 20, 30}, false},
      {"gap", 40, {8, 2, 10, 20, 16, 3, 33, 1}, false},
      {"wide_gap", 3, {16, 7, 10, 20, 0, 3, 33, 1}, false},
      {"gated", 40, {0, 5, 0, 100, 8, 5, 0, 50}, true},
      {"gated_few_rows", 2, {0, 5, 0, 100, 8, 5, 0, 50}, true},
  };
  std::vector<OpCase> cases;
  for (const Lora& lora : list) {
    cases.push_back({.name = std::string("linear/lora/") + lora.name,
                     .make =
                         [lora](Operands& o) {
                           o.input("x", {2, lora.rows, 48});
                           o.input("weight", {100, 48}, weight_deviation(48));
                           o.input("bias", {100});
                           make_lora(o, {.capacity = 24, .in = 48, .segments = lora.segments});
                           o.as(DType::f32).input("gate", {3, 2, 100});
                           o.integers("step", {1}, {1});
                           if (lora.add) {
                             o.in_out("y", {2, lora.rows, 100});
                           } else {
                             o.output("y", {2, lora.rows, 100});
                           }
                         },
                     .run =
                         [add = lora.add](Ops& ops, const Operands& o) {
                           ops.linear({.x = o["x"],
                                       .weight = o["weight"],
                                       .bias = o["bias"],
                                       .lora = lora_operand(o, 100),
                                       .outputs = {{{o["y"], Activation::silu}}},
                                       .add = add,
                                       .gate = add ? gate_of(o) : StepVector{}});
                         },
                     .eps = 4e-6});
  }
  return cases;
}

}  // namespace fx::test
