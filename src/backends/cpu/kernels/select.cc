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

ProcessorFeatures detect_processor() {
  __builtin_cpu_init();
  return {.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                  __builtin_cpu_supports("bmi2"),
          .avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vl")};
}

InstructionSet best_instruction_set(ProcessorFeatures features) {
  check(features.avx2, ErrorCode::unsupported,
        "the cpu back-end needs a processor with AVX2, FMA and BMI, found one without; the reference back-end runs "
        "anywhere: "
        "--reference");
  return features.avx512 ? InstructionSet::avx512 : InstructionSet::avx2;
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
