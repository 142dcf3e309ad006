// The ways to make pictures that are compared. The first seven come in the order in which each adds one thing.
#include <algorithm>

#include "bench.h"
#include "core/error.h"
#include "usage_error.h"

namespace fx::cli {
namespace {

const std::vector<BenchRow> kRows = {
    {.name = "baseline",
     .text = "bf16, call by call, plain attention, adapter beside the weights",
     .precision = Precision::bf16,
     .recorded = false,
     .fused_attention = false},
    {.name = "graph", .text = "+ recorded steps", .precision = Precision::bf16, .fused_attention = false},
    {.name = "attention", .text = "+ fused attention", .precision = Precision::bf16},
    {.name = "fp8", .text = "+ fp8 linear layers"},
    {.name = "fp8-merged", .text = "+ adapter merged into the weights", .merged = true},
    {.name = "fp8-e4m3", .text = "+ e4m3 attention", .e4m3_attention = true, .merged = true},
    {.name = "fp8-swap",
     .text = "+ another adapter for each picture, two sets of weights",
     .e4m3_attention = true,
     .merged = true,
     .reserved = true,
     .swapped = true},
    {.name = "fp8-unmerged",
     .text = "the default: fp8, e4m3 attention, adapter in the weights' fronts, room for rank 128",
     .e4m3_attention = true,
     .reserved = true},
    {.name = "fp8-unmerged-bf16", .text = "fp8-unmerged with bf16 attention", .reserved = true},
    {.name = "fp8-unmerged-swap",
     .text = "fp8-unmerged, another adapter for each picture",
     .e4m3_attention = true,
     .reserved = true,
     .swapped = true},
    {.name = "fp8-unmerged-128",
     .text = "fp8-unmerged with an adapter of rank 128",
     .e4m3_attention = true,
     .adapter = BenchAdapter::largest_rank,
     .reserved = true},
    {.name = "fp8-unmerged-small",
     .text = "fp8-unmerged with modulation in e4m3: the least memory",
     .e4m3_attention = true,
     .e4m3_modulation = true,
     .reserved = true},
    {.name = "fp8-no-adapter",
     .text = "fp8, e4m3 attention, no adapter, and no room for one",
     .e4m3_attention = true,
     .adapter = BenchAdapter::none},
    {.name = "fp8-merged-no-adapter",
     .text = "fp8-e4m3 without an adapter",
     .e4m3_attention = true,
     .adapter = BenchAdapter::none,
     .merged = true},
    {.name = "bf16-merged", .text = "bf16, adapter merged", .precision = Precision::bf16, .merged = true},
};

// Text between commas.
std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

}  // namespace

std::span<const BenchRow> bench_rows() { return kRows; }

const BenchRow& bench_row(const std::string& name) {
  const auto found = std::ranges::find(kRows, name, &BenchRow::name);
  check(found != kRows.end(), ErrorCode::internal, "no row is called '{}'", name);
  return *found;
}

std::vector<std::string> parse_bench_rows(const std::string& text, const std::vector<std::string>& more) {
  std::vector<std::string> known;
  for (const BenchRow& row : kRows) known.push_back(row.name);
  known.insert(known.end(), more.begin(), more.end());
  std::vector<std::string> names = split(text);
  for (const std::string& name : names) {
    expect(std::ranges::find(known, name) != known.end(), "--rows: expected some of {}, found '{}'",
           fmt::join(known, ","), name);
  }
  return names;
}

BenchRow as_run(const BenchRow& row, const BenchOptions& options, Ops& ops) {
  BenchRow run = row;
  const bool given = options.engine.precision != "auto";
  for (const Precision precision : {Precision::f32, Precision::bf16, Precision::fp8}) {
    if (options.engine.precision == name(precision)) run.precision = precision;
  }
  const bool bf16 = ops.computes_in(DType::bf16), fp8 = bf16 && ops.computes_in(DType::f8_e4m3);
  const bool can = run.precision == Precision::f32 || (run.precision == Precision::fp8 ? fp8 : bf16);
  check(can || !given, ErrorCode::unsupported, "--precision {}: {} does not compute in it; expected {} or auto",
        options.engine.precision, ops.runtime().device_name(), bf16 ? "f32, bf16" : "f32");
  if (!can) run.precision = bf16 ? Precision::bf16 : Precision::f32;
  run.e4m3_attention = run.e4m3_attention && run.precision != Precision::f32 && ops.multiplies_in(DType::f8_e4m3);
  run.e4m3_modulation = run.e4m3_modulation && run.precision == Precision::fp8;
  run.recorded = run.recorded && ops.runtime().records();
  return run;
}

}  // namespace fx::cli
