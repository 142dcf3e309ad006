// Time per operation at FLUX shapes, from the same list of cases as the parity tests.
//   bench_ops --benchmark_filter=linear/flux
#include <benchmark/benchmark.h>

#include "backends/make_ops.h"
#include "parity/op_case.h"

namespace {

void run_case(benchmark::State& state, const fx::test::OpCase& c) {
  const auto ops = fx::make_cpu_ops();
  fx::test::Operands operands(c.name);
  c.make(operands);
  c.run(*ops, operands);  // the first call allocates
  for (auto _ : state) {
    c.run(*ops, operands);
    ops->runtime().synchronize();
  }
  state.counters["FLOP/s"] = benchmark::Counter(c.flops, benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace

int main(int argc, char** argv) {
  for (const fx::test::OpCase& c : fx::test::flux_cases()) {
    benchmark::RegisterBenchmark(c.name.c_str(), run_case, c)
        ->UseRealTime()
        ->MeasureProcessCPUTime()
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
