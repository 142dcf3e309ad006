// One list of operation cases drives the parity tests and the benchmarks.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <string>
#include <vector>

#include "ops/ops.h"
#include "parity/operands.h"

namespace fx::test {

struct OpCase {
  std::string name;                                // "linear/m77_k64_n96/gelu_tanh"
  std::function<void(Operands&)> make;             // declares and fills the operands
  std::function<void(Ops&, const Operands&)> run;  // one call
  double eps = 1e-6;                               // error allowed besides `factor` times the naive one
  double flops = 0;                                // for the benchmark
  double factor = 2;
  // What is wrong with outputs that comparing values does not judge; empty if nothing is.
  std::function<std::string(const Operands& run, const Operands& truth)> judge = {};
};

// Small and odd shapes for the tests, by family.
std::vector<OpCase> linear_cases();
std::vector<OpCase> lora_cases();
std::vector<OpCase> attention_cases();
std::vector<OpCase> norm_cases();
std::vector<OpCase> pointwise_cases();
std::vector<OpCase> image_cases();
std::vector<OpCase> test_cases();  // all of them, in f32; most can be made in bf16 too

// Where a back-end computes in bf16 and e4m3: those of the above that have values to round, and more.
std::vector<OpCase> low_precision_cases();
std::vector<OpCase> merge_cases();
std::vector<OpCase> front_cases();
std::vector<OpCase> narrow_cases();  // all of them

// The shapes of one step of a FLUX transformer of hidden size 768 on 512 + 1024 tokens, and of its VAE.
std::vector<OpCase> flux_cases();

struct LinearShape {
  int64_t batch, rows, depth, columns;
};
OpCase linear_case(const std::string& name, const LinearShape& shape, Activation activation);

struct AttentionShape {
  int64_t batch, queries, keys, heads, head_size;
};
enum class AttentionKind { plain, biased, causal };
OpCase attention_case(const std::string& name, const AttentionShape& shape, AttentionKind kind);

struct ConvShape {
  int64_t batch, height, width, in, out, kernel;
  int stride = 1, pad_begin = 1, pad_end = 1;
  bool add = false;
};
OpCase conv_case(const std::string& name, const ConvShape& shape);

}  // namespace fx::test
