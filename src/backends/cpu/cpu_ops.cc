#include "backends/cpu/cpu_ops.h"

#include <sched.h>

#include <algorithm>
#include <thread>

#include "backends/make_ops.h"
#include "core/error.h"

namespace fx {

CpuOps::CpuOps(int threads, InstructionSet set)
    : threads_(threads), kernels_(kernels_for(set)), runtime_(make_host_runtime(host_memory_bytes())) {}

float* CpuOps::scratch(int64_t floats) {
  if (!scratch_.tensor().defined() || scratch_.tensor().count() < floats) {
    scratch_.reset();  // first, so that old and new do not add up in the peak
    scratch_ = Buffer(*runtime_, DType::f32, {floats});
  }
  return scratch_.tensor().f32();
}

namespace {

// The cores that this process may use, which may be fewer than the machine has.
int available_cores() {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) return std::max(CPU_COUNT(&cores), 1);
  return std::max(static_cast<int>(std::thread::hardware_concurrency()), 1);
}

}  // namespace

std::unique_ptr<Ops> make_cpu_ops(int threads) {
  check(threads >= 0, ErrorCode::invalid_argument, "the number of threads must be 0 (all cores) or more, found {}",
        threads);
  return std::make_unique<CpuOps>(threads > 0 ? threads : available_cores(), best_instruction_set());
}

}  // namespace fx
