// Host work on all cores, for the rare long piece of work outside of a back-end (which has threads of its own).
#pragma once

#include <cstdint>
#include <functional>

namespace fx {

// Calls work(i) for 0 <= i < count, each once, in any order, on up to one thread for each core, and on `most` threads at
// most. The first exception is thrown here, after all threads have ended. Where no thread can be started the caller does all
// the work, and so it does within the work of another call that has work for all cores.
void parallel_for(int64_t count, const std::function<void(int64_t)>& work, int64_t most = INT64_MAX);

}  // namespace fx
