// Which copy of the kernels this processor runs.
#include "backends/cpu/kernels/kernels.h"
#include "core/error.h"

namespace fx {

namespace avx2 {
Kernels make_kernels();
}
namespace avx512 {
Kernels make_kernels();
}

InstructionSet best_instruction_set() {
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                        __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c");
  check(has_avx2, ErrorCode::unsupported,
        "the cpu back-end needs a processor with AVX2 and FMA, found none; the reference back-end runs anywhere");
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vl");
  return has_avx512 ? InstructionSet::avx512 : InstructionSet::avx2;
}

const Kernels& kernels_for(InstructionSet set) {
  if (set == InstructionSet::avx2) {
    static const Kernels table = avx2::make_kernels();
    return table;
  }
  static const Kernels table = avx512::make_kernels();  // itself AVX-512 code: made only where it can run
  return table;
}

}  // namespace fx
