#include "parity/op_case.h"

namespace fx::test {
namespace {

constexpr std::pair<const char*, Activation> kActivations[] = {{"none", Activation::none},
                                                               {"silu", Activation::silu},
                                                               {"gelu_tanh", Activation::gelu_tanh},
                                                               {"gelu_erf", Activation::gelu_erf},
                                                               {"quick_gelu", Activation::quick_gelu}};

OpCase activate_case(const char* label, Activation activation, float size, int64_t rows, bool in_place) {
  return {
      .name = fmt::format("activate/{}_l{}_x{}{}", label, rows, size, in_place ? "_in_place" : ""),
      .make =
          [=](Operands& o) {
            if (in_place) {
              o.view("y", o.in_out("x", {2, rows, 45}, size));
            } else {
              o.view("x", o.input("wide", {2, rows, 60}, size).slice(2, 7, 52));
              o.output("y", {2, rows, 45});
            }
          },
      .run = [=](Ops& ops, const Operands& o) { ops.activate({.x = o["x"], .y = o["y"], .activation = activation}); }};
}

OpCase binary_case(const char* op, int64_t batch, int64_t b_batch, int64_t rows, bool in_place) {
  const bool multiply = std::string(op) == "multiply";
  return {.name = fmt::format("{}/b{}_b{}_l{}{}", op, batch, b_batch, rows, in_place ? "_in_place" : ""),
          .make =
              [=](Operands& o) {
                o.view("b", o.input("wide", {b_batch, rows + 2, 70}).slice(1, 1, 1 + rows).slice(2, 5, 55));
                if (in_place) {
                  o.view("y", o.in_out("a", {batch, rows, 50}));
                } else {
                  o.view("a", o.input("wide_a", {batch, rows + 1, 50}).slice(1, 0, rows));
                  o.output("y", {batch, rows, 50});
                }
              },
          .run =
              [=](Ops& ops, const Operands& o) {
                const BinaryArgs args{.a = o["a"], .b = o["b"], .y = o["y"]};
                multiply ? ops.multiply(args) : ops.add(args);
              }};
}

OpCase copy_case(const std::string& name, std::function<void(Operands&)> make) {
  return {.name = "copy/" + name, .make = std::move(make), .run = [](Ops& ops, const Operands& o) {
            ops.copy({.x = o["x"], .y = o["y"]});
          }};
}

void add_copy_cases(std::vector<OpCase>& cases) {
  cases.push_back(copy_case("dense", [](Operands& o) {
    o.input("x", {3, 50, 40});
    o.output("y", {3, 50, 40});
  }));
  cases.push_back(copy_case("transposed", [](Operands& o) {
    o.view("x", o.input("t", {3, 31, 33}).transpose(1, 2));
    o.output("y", {3, 33, 31});
  }));
  cases.push_back(copy_case("both_strided", [](Operands& o) {
    o.view("x", o.input("wide", {2, 3, 10, 20, 8}).slice(3, 5, 16).transpose(0, 2));
    o.view("y", o.output("out", {10, 3, 2, 12, 9}).slice(3, 1, 12).slice(4, 0, 8));
  }));
  cases.push_back(copy_case("integers", [](Operands& o) {
    o.integers("x", {2, 3}, {1, 2, 3, 4, 5, -6});
    o.output("y", {2, 3}, DType::i32);
  }));
  cases.push_back(copy_case("scalar", [](Operands& o) {
    o.input("x", {});
    o.output("y", {});
  }));
  cases.push_back(copy_case("empty", [](Operands& o) {
    o.input("x", {2, 0, 3});
    o.output("y", {2, 0, 3});
  }));
}

OpCase embed_case(bool add) {
  return {.name = add ? "embed_rows/add" : "embed_rows/set",
          .make =
              [=](Operands& o) {
                o.integers("ids", {2, 5}, {0, 10, 3, 3, 7, 9, 1, 0, 0, 10});
                o.input("table", {11, 37});
                const Shape shape{2, 7, 40};
                const Tensor base = add ? o.in_out("base", shape) : o.output("base", shape);
                o.view("y", base.slice(1, 1, 6).slice(2, 2, 39));
              },
          .run =
              [=](Ops& ops, const Operands& o) {
                ops.embed_rows({.ids = o["ids"], .table = o["table"], .y = o["y"], .add = add});
              }};
}

OpCase timestep_case(int64_t count, int64_t width) {
  return {.name = fmt::format("timestep_embedding/n{}_d{}", count, width),
          .make =
              [=](Operands& o) {
                const Tensor& t = o.as(DType::f32).input("t", {count});
                for (int64_t i = 0; i < count; ++i) t.f32()[i] = 1000.0f * (1.0f - static_cast<float>(i) / 28);
                o.as(DType::f32).output("y", {1, count, width});
              },
          .run = [](Ops& ops, const Operands& o) { ops.timestep_embedding({.t = o["t"], .y = o["y"]}); }};
}

OpCase euler_case(int64_t batch, int32_t step) {
  return {.name = fmt::format("euler_step/b{}_step{}", batch, step),
          .make =
              [=](Operands& o) {
                o.view("sample", o.as(DType::f32).in_out("base", {batch, 35, 64}).slice(1, 2, 33));
                o.view("velocity", o.input("wide", {batch, 31, 70}).slice(2, 6, 70));
                o.as(DType::f32).input("sigmas", {5});
                o.integers("step", {1}, {step});
              },
          .run =
              [](Ops& ops, const Operands& o) {
                ops.euler_step(
                    {.sample = o["sample"], .velocity = o["velocity"], .sigmas = o["sigmas"], .step = o["step"]});
              }};
}

OpCase advance_case() {
  return {.name = "advance_step",
          .make =
              [](Operands& o) {
                o.output("step", {1}, DType::i32);
                *o["step"].i32() = 6;
              },
          .run = [](Ops& ops, const Operands& o) { ops.advance_step({.step = o["step"]}); }};
}

}  // namespace

std::vector<OpCase> pointwise_cases() {
  std::vector<OpCase> cases;
  for (const auto& [label, activation] : kActivations) {
    for (const float size : {1.0f, 5.0f, 1e4f, 0.0f})
      cases.push_back(activate_case(label, activation, size, 33, false));
    cases.push_back(activate_case(label, activation, 3, 511, true));
  }
  for (const char* op : {"add", "multiply"}) {
    cases.push_back(binary_case(op, 1, 1, 511, false));
    cases.push_back(binary_case(op, 3, 3, 31, false));
    cases.push_back(binary_case(op, 3, 1, 33, false));
    cases.push_back(binary_case(op, 3, 1, 77, true));
  }
  add_copy_cases(cases);
  cases.push_back(embed_case(false));
  cases.push_back(embed_case(true));
  cases.push_back(timestep_case(1, 2));
  cases.push_back(timestep_case(28, 256));
  cases.push_back(euler_case(1, 0));
  cases.push_back(euler_case(3, 3));
  cases.push_back(advance_case());
  return cases;
}

}  // namespace fx::test
