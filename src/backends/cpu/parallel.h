// Splits work over threads. What a thread does must not throw: an exception cannot leave an OpenMP region.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace fx {

// Calls work(begin, end, thread) for contiguous ranges that cover [0, count), on up to `threads` threads, each with at
// least `grain` items; small work stays on the calling thread.
template <class Work>
void parallel_ranges(int threads, int64_t count, int64_t grain, const Work& work) {
  const int used = static_cast<int>(std::clamp<int64_t>(count / std::max<int64_t>(grain, 1), 1, threads));
  if (used == 1) {
    work(int64_t{0}, count, 0);
    return;
  }
#pragma omp parallel num_threads(used)
  {
    const int64_t thread = omp_get_thread_num(), team = omp_get_num_threads();
    work(count * thread / team, count * (thread + 1) / team, static_cast<int>(thread));
  }
}

// A thread wakes up in about 2 us, in which a core does about this many elementwise operations.
inline constexpr int64_t kElementsPerThread = 16384;

}  // namespace fx
