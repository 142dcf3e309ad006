#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace fx {
namespace {

thread_local bool busy = false;  // with work that keeps all cores busy

struct Busy {
  explicit Busy(bool all_cores) : before(std::exchange(busy, all_cores)) {}
  ~Busy() { busy = before; }
  const bool before;
};

}  // namespace

void parallel_for(int64_t count, const std::function<void(int64_t)>& work, int64_t most) {
  if (count <= 1 || busy) {
    for (int64_t i = 0; i < count; ++i) work(i);
    return;
  }
  const int64_t cores = std::max(1u, std::thread::hardware_concurrency()), threads = std::min({count, cores, most});
  std::atomic<int64_t> next{0};
  std::exception_ptr error;
  std::mutex error_mutex;
  const auto take_all = [&] {
    const Busy now(threads >= cores);
    try {
      for (int64_t i = next++; i < count; i = next++) work(i);
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
      next = count;
    }
  };
  std::vector<std::jthread> helpers;
  try {
    for (int64_t i = 1; i < threads; ++i) helpers.emplace_back(take_all);
  } catch (const std::system_error&) {  // fewer threads, then
  }
  take_all();
  helpers.clear();  // joins
  if (error) std::rethrow_exception(error);
}

}  // namespace fx
