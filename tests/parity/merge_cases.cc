// Weights in e4m3, and adapters merged into them.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "parity/lora_operand.h"
#include "parity/low_precision_cases.h"

namespace fx::test {
namespace {

// Row 0 is zero if there are others.
OpCase quantize_case(int64_t rows, int64_t columns, float size, DType dtype = DType::bf16) {
  return {
      .name = fmt::format("quantize_rows/r{}_c{}_x{}_{}", rows, columns, size, name(dtype)),
      .make =
          [=](Operands& o) {
            o.as(dtype).input("x", {rows, columns}, size);
            for (int64_t c = 0; rows > 1 && c < columns; ++c) o.set("x", c, 0);
            o.quantized_output("y", {rows, columns});
          },
      .run = [](Ops& ops, const Operands& o) { ops.quantize_rows({.x = o["x"], .y = o["y"], .scale = o["y_scale"]}); },
      .judge =
          [](const Operands& run, const Operands&) {
            const WrittenRows found(run, "y");
            const std::vector<float> x = run.owned("x").values();
            std::string wrong;
            for (int64_t row = 0; wrong.empty() && row < found.rows; ++row) {
              wrong = wrong_bits(found, row, &x[static_cast<size_t>(row * found.columns)]);
            }
            return wrong;
          }};
}

struct Merge {
  const char* name;
  int64_t rows, columns, capacity;
  std::vector<int32_t> segments;  // four numbers each
  double strength = 0.5;          // |difference| / |weight|, where all ranks feed a row
  DType dtype = DType::bf16;

  bool touches(int64_t row) const {
    for (size_t s = 0; s < segments.size(); s += 4) {
      if (segments[s + 1] > 0 && row >= segments[s + 2] && row < segments[s + 2] + segments[s + 3]) return true;
    }
    return false;
  }
};

void make_merge(const Merge& m, Operands& o) {
  o.as(m.dtype).input("base", {m.rows, m.columns}, 1 / std::sqrt(static_cast<float>(m.columns)));
  make_lora(o, {.capacity = m.capacity,
                .in = m.columns,
                .segments = m.segments,
                .deviation = static_cast<float>(m.strength / std::sqrt(static_cast<double>(m.capacity))),
                .dtype = m.dtype});
  o.as(m.dtype).output("merged", {m.rows, m.columns});
  o.quantized_output("weight", {m.rows, m.columns});
  o.quantized_output("base8", {m.rows, m.columns});
}

void run_merge(Ops& ops, const Operands& o) {
  const LoraOperand lora = lora_operand(o, o["base"].size(0));
  ops.quantize_rows({.x = o["base"], .y = o["base8"], .scale = o["base8_scale"]});
  ops.merge_lora({.base = o["base"], .lora = lora, .weight = o["merged"], .weight_scale = {}});
  ops.merge_lora({.base = o["base"], .lora = lora, .weight = o["weight"], .weight_scale = o["weight_scale"]});
}

// Rows without a segment are the base's, bitwise; the others are near the truth.
std::string wrong_row(const Merge& m, int64_t row, const Operands& run, const float* base, const float* right) {
  const WrittenRows weight(run, "weight"), base8(run, "base8");
  if (m.touches(row)) {
    double largest = 0;  // the difference may have been summed from products in bf16
    for (int64_t c = 0; c < m.columns; ++c) largest = std::max<double>(largest, std::abs(right[c] - base[c]));
    return wrong_values(weight, row, right, largest * 0x1p-8);
  }
  const auto bytes = static_cast<size_t>(m.columns);
  if (std::memcmp(weight.values + row * m.columns, base8.values + row * m.columns, bytes) != 0 ||
      weight.scales[row] != base8.scales[row]) {
    return fmt::format("row {} has no segment and is not the base's", row);
  }
  const std::vector<float> merged = run.owned("merged").values();
  const auto at = merged.begin() + row * m.columns;
  return std::equal(at, at + m.columns, base) ? "" : fmt::format("row {} of the merged base has changed", row);
}

// How much of the true difference has arrived.
double projection(const Operands& run, std::span<const float> base, std::span<const float> right) {
  const WrittenRows weight(run, "weight");
  double product = 0, squares = 0;
  for (size_t i = 0; i < right.size(); ++i) {
    const double difference = static_cast<double>(right[i]) - base[i];
    const auto row = static_cast<int64_t>(i) / weight.columns, column = static_cast<int64_t>(i) % weight.columns;
    product += (weight.value(row, column) - base[i]) * difference;
    squares += difference * difference;
  }
  return squares > 0 ? product / squares : 1;
}

std::string judge_merge(const Merge& m, const Operands& run, const Operands& truth) {
  const std::vector<float> base = truth.owned("base").values(), right = truth.owned("merged").values();
  const WrittenRows base8(run, "base8");
  for (int64_t row = 0; row < m.rows; ++row) {
    const auto at = static_cast<size_t>(row * m.columns);
    std::string wrong = wrong_bits(base8, row, &base[at]);
    if (wrong.empty()) wrong = wrong_row(m, row, run, &base[at], &right[at]);
    if (!wrong.empty()) return wrong;
  }
  const double arrived = projection(run, base, right);
  if (std::abs(arrived - 1) <= 0.03) return "";
  return fmt::format("{} of the difference has arrived, expected 1 +- 0.03", arrived);
}

}  // namespace

std::vector<OpCase> merge_cases() {
  std::vector<OpCase> cases;
  for (const int64_t rows : {1, 7, 33}) {
    for (const int64_t columns : {1, 16, 31, 3072}) cases.push_back(quantize_case(rows, columns, 1));
  }
  cases.push_back(quantize_case(5, 200, 1e-4f));
  cases.push_back(quantize_case(5, 200, 1e4f));
  cases.push_back(quantize_case(9, 100, 1, DType::f32));
  const Merge merges[] = {
      {"none", 100, 48, 24, {}},
      {"one", 100, 48, 24, {0, 16, 0, 100}},
      {"slice", 100, 48, 24, {0, 4, 30, 50}},
      {"empty", 100, 48, 24, {0, 0, 0, 100, 8, 5, 7, 0}},
      {"empty_between", 100, 48, 24, {0, 3, 0, 60, 8, 5, 7, 0, 16, 7, 50, 40}},
      {"qkv", 100, 48, 24, {0, 4, 0, 30, 8, 7, 30, 35, 16, 1, 65, 30}},
      {"overlap", 100, 48, 24, {0, 8, 0, 60, 8, 13, 40, 50}},
      {"shared", 100, 48, 24, {0, 3, 0, 60, 0, 13, 50, 40}},
      {"same_rows", 100, 48, 24, {0, 3, 20, 30, 8, 7, 20, 30, 16, 8, 20, 30}},
      {"gap", 100, 48, 24, {8, 2, 10, 20, 16, 3, 33, 1}},
      {"odd", 33, 77, 11, {0, 2, 3, 20, 8, 3, 10, 23}},
      {"many_ranks", 48, 200, 168, {0, 130, 0, 40, 136, 30, 8, 40}},
      {"f32", 33, 80, 12, {0, 3, 3, 20, 8, 4, 10, 20}, 0.5, DType::f32},
      // As weak as real adapters are: what is merged into rounded weights would vanish.
      {"weak", 256, 3072, 16, {0, 16, 0, 256}, 0.005},
  };
  for (const Merge& m : merges) {
    cases.push_back({.name = std::string("merge_lora/") + m.name,
                     .make = [m](Operands& o) { make_merge(m, o); },
                     .run = run_merge,
                     .judge = [m](const Operands& run, const Operands& truth) { return judge_merge(m, run, truth); }});
  }
  return cases;
}

}  // namespace fx::test
