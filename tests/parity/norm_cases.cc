#include "parity/op_case.h"

namespace fx::test {
namespace {

struct RowShape {
  int64_t batch, rows, channels;
  float size = 1, mean = 0;
};

std::string label(const RowShape& s) { return fmt::format("b{}_l{}_c{}", s.batch, s.rows, s.channels); }

// x is the middle of a longer sequence, y dense.
void make_rows(Operands& o, const RowShape& s) {
  o.view("x", o.input("sequence", {s.batch, s.rows + 4, s.channels}, s.size, s.mean).slice(1, 2, 2 + s.rows));
  o.output("y", {s.batch, s.rows, s.channels});
  o.input("gain", {s.channels});
  o.input("bias", {s.channels});
}

OpCase ln_modulate_case(const RowShape& s, const std::string& suffix = "") {
  return {.name = "ln_modulate/" + label(s) + suffix,
          .make =
              [=](Operands& o) {
                make_rows(o, s);
                const Tensor& table = o.as(DType::f32).input("table", {4, s.batch, 6 * s.channels});
                o.view("shift", table.slice(2, 3 * s.channels, 4 * s.channels));
                o.view("scale", table.slice(2, 4 * s.channels, 5 * s.channels));
                o.integers("step", {1}, {3});
              },
          .run =
              [](Ops& ops, const Operands& o) {
                ops.ln_modulate(
                    {.x = o["x"], .shift = {o["shift"], o["step"]}, .scale = {o["scale"], o["step"]}, .y = o["y"]});
              },
          .eps = 4e-6};
}

OpCase layer_norm_case(const RowShape& s, const std::string& suffix = "") {
  return {.name = "layer_norm/" + label(s) + suffix,
          .make = [=](Operands& o) { make_rows(o, s); },
          .run =
              [](Ops& ops, const Operands& o) {
                ops.layer_norm({.x = o["x"], .gain = o["gain"], .bias = o["bias"], .y = o["y"]});
              },
          .eps = 4e-6};
}

OpCase rms_norm_case(const RowShape& s, const std::string& suffix = "") {
  return {.name = "rms_norm/" + label(s) + suffix,
          .make = [=](Operands& o) { make_rows(o, s); },
          .run = [](Ops& ops, const Operands& o) { ops.rms_norm({.x = o["x"], .gain = o["gain"], .y = o["y"]}); },
          .eps = 4e-6};
}

OpCase qk_norm_rope_case(int64_t batch, int64_t tokens, int64_t heads, int64_t head_size, float size = 1) {
  return {
      .name = fmt::format("qk_norm_rope/b{}_l{}_h{}_d{}_x{}", batch, tokens, heads, head_size, size),
      .make =
          [=](Operands& o) {
            const int64_t hidden = heads * head_size;
            const Tensor qkv = o.in_out("qkv", {batch, tokens, 3 * hidden}, size);
            o.view("q", qkv.slice(2, 0, hidden).reshape({batch, tokens, heads, head_size}));
            o.view("k", qkv.slice(2, hidden, 2 * hidden).reshape({batch, tokens, heads, head_size}));
            o.input("q_gain", {head_size});
            o.input("k_gain", {head_size});
            o.as(DType::f32).input("pe", {tokens, head_size / 2, 2});
          },
      .run =
          [](Ops& ops, const Operands& o) {
            ops.qk_norm_rope({.q = o["q"], .k = o["k"], .q_gain = o["q_gain"], .k_gain = o["k_gain"], .pe = o["pe"]});
          },
      .eps = 4e-6};
}

OpCase group_norm_case(int64_t batch, int64_t height, int64_t width, int64_t channels, int groups, bool silu,
                       float size = 1, float mean = 0) {
  return {.name = fmt::format("group_norm/b{}_{}x{}_c{}_g{}{}_x{}_m{}", batch, height, width, channels, groups,
                              silu ? "_silu" : "", size, mean),
          .make =
              [=](Operands& o) {
                o.input("x", {batch, height, width, channels}, size, mean);
                o.input("gain", {channels});
                o.input("bias", {channels});
                o.output("y", {batch, height, width, channels});
              },
          .run =
              [=](Ops& ops, const Operands& o) {
                ops.group_norm(
                    {.x = o["x"], .gain = o["gain"], .bias = o["bias"], .y = o["y"], .groups = groups, .silu = silu});
              },
          .eps = 4e-6};
}

}  // namespace

std::vector<OpCase> norm_cases() {
  std::vector<OpCase> cases;
  for (const RowShape& s : {RowShape{1, 1, 64}, {1, 31, 100}, {3, 33, 72}, {3, 77, 5}, {1, 511, 192}}) {
    cases.push_back(ln_modulate_case(s));
    cases.push_back(layer_norm_case(s));
    cases.push_back(rms_norm_case(s));
  }
  for (const auto& [suffix, size, mean] :
       {std::tuple{"/large", 1e4f, 0.0f}, {"/offset", 1.0f, 30.0f}, {"/zeros", 0.0f, 0.0f}}) {
    const RowShape s{3, 31, 96, size, mean};
    cases.push_back(ln_modulate_case(s, suffix));
    cases.push_back(layer_norm_case(s, suffix));
    cases.push_back(rms_norm_case(s, suffix));
  }
  for (const int64_t head_size : {2, 16, 22, 24, 50, 64, 128}) cases.push_back(qk_norm_rope_case(1, 33, 3, head_size));
  cases.push_back(qk_norm_rope_case(3, 77, 2, 32));
  cases.push_back(qk_norm_rope_case(1, 511, 3, 64, 1e4f));
  cases.push_back(qk_norm_rope_case(1, 31, 2, 16, 0));
  cases.push_back(group_norm_case(1, 1, 1, 32, 32, false));
  cases.push_back(group_norm_case(1, 7, 9, 64, 32, true));
  cases.push_back(group_norm_case(3, 33, 31, 30, 5, true));
  cases.push_back(group_norm_case(1, 8, 8, 48, 4, false, 1e4f));
  cases.push_back(group_norm_case(1, 31, 33, 16, 4, false, 1, 30));
  cases.push_back(group_norm_case(1, 8, 8, 48, 4, true, 0));
  return cases;
}

}  // namespace fx::test
