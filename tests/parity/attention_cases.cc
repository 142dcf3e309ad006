#include <cmath>

#include "parity/op_case.h"

namespace fx::test {

OpCase attention_case(const std::string& name, const AttentionShape& s, AttentionKind kind) {
  return {.name = name,
          .make =
              [=](Operands& o) {
                o.input("q", {s.batch, s.queries, s.heads, s.head_size});
                o.input("k", {s.batch, s.keys, s.heads, s.head_size});
                o.input("v", {s.batch, s.keys, s.heads, s.head_size});
                if (kind == AttentionKind::biased) o.input("bias", {s.heads, s.queries, s.keys});
                o.output("o", {s.batch, s.queries, s.heads, s.head_size});
              },
          .run =
              [=](Ops& ops, const Operands& o) {
                ops.attention({.q = o["q"],
                               .k = o["k"],
                               .v = o["v"],
                               .o = o["o"],
                               .bias = kind == AttentionKind::biased ? o["bias"] : Tensor(),
                               .causal = kind == AttentionKind::causal,
                               .scale = 1 / std::sqrt(static_cast<float>(s.head_size))});
              },
          .flops = 4.0 * static_cast<double>(s.batch * s.heads * s.queries * s.keys * s.head_size)};
}

namespace {

// q, k, v are slices of one qkv buffer and o of a wider one, as in a single block; rows of the batch do not collapse.
OpCase qkv_case(int64_t batch, int64_t tokens, int64_t heads, int64_t head_size) {
  return {.name = fmt::format("attention/qkv_slices/b{}_l{}_h{}_d{}", batch, tokens, heads, head_size),
          .make =
              [=](Operands& o) {
                const int64_t hidden = heads * head_size;
                const Tensor qkv = o.input("qkv", {batch, tokens + 3, 3 * hidden}).slice(1, 3, 3 + tokens);
                const auto part = [&](int64_t i) {
                  return qkv.slice(2, i * hidden, (i + 1) * hidden).reshape({batch, tokens, heads, head_size});
                };
                o.view("q", part(0));
                o.view("k", part(1));
                o.view("v", part(2));
                o.view("o", o.output("joint", {batch, tokens + 2, hidden + 9})
                                .slice(1, 1, 1 + tokens)
                                .slice(2, 4, 4 + hidden)
                                .reshape({batch, tokens, heads, head_size}));
              },
          .run =
              [](Ops& ops, const Operands& o) {
                ops.attention({.q = o["q"], .k = o["k"], .v = o["v"], .o = o["o"], .bias = {}, .scale = 0.2f});
              }};
}

// Scores far apart: the softmax must not overflow. Also keys that the bias hides altogether, a whole block of them.
OpCase extreme_case(const std::string& name, float size, bool hide) {
  OpCase c = attention_case("attention/" + name, {1, 50, 700, 2, 24}, AttentionKind::biased);
  c.make = [=](Operands& o) {
    o.input("q", {1, 50, 2, 24}, size);
    o.input("k", {1, 700, 2, 24}, size);
    o.input("v", {1, 700, 2, 24}, size);
    o.input("bias", {2, 50, 700});
    for (int64_t i = 0; hide && i < 2 * 50 * 700; ++i) {
      if (i % 700 < 600 || i % 3 == 0) o.set("bias", i, -INFINITY);
    }
    o.output("o", {1, 50, 2, 24});
  };
  return c;
}

}  // namespace

std::vector<OpCase> attention_cases() {
  std::vector<OpCase> cases;
  for (const int64_t tokens : {1, 31, 33, 77, 511, 600}) {
    const AttentionShape shape{1, tokens, tokens, 2, 32};
    cases.push_back(attention_case(fmt::format("attention/l{}", tokens), shape, AttentionKind::plain));
    cases.push_back(attention_case(fmt::format("attention/l{}/biased", tokens), shape, AttentionKind::biased));
    cases.push_back(attention_case(fmt::format("attention/l{}/causal", tokens), shape, AttentionKind::causal));
  }
  for (const int64_t head_size : {1, 8, 16, 24, 40, 50, 64, 128, 256, 512}) {
    cases.push_back(
        attention_case(fmt::format("attention/d{}", head_size), {3, 37, 53, 2, head_size}, AttentionKind::plain));
  }
  cases.push_back(qkv_case(1, 77, 3, 16));
  cases.push_back(qkv_case(3, 33, 4, 24));
  cases.push_back(extreme_case("large", 100, false));
  cases.push_back(extreme_case("hidden_keys", 1, true));
  cases.push_back(extreme_case("zeros", 0, false));
  return cases;
}

}  // namespace fx::test
