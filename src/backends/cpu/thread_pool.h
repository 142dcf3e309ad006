// Splits work over threads, and stays useful on a busy machine.
//
// Every thread starts on a share of its own and then takes over what others have not begun. The caller never waits for a
// thread that has not started: where another process holds the other cores, it does the work itself. (With a barrier
// between equal halves, as OpenMP has it, two threads beside two busy processes were four times slower than one.)
// Threads that wait look around for about 50 us before they sleep, which is longer than the pauses between operations.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace fx {

class ThreadPool {
 public:
  // The calling thread is one of them. Throws Error(device) where the system gives fewer.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  int threads() const { return threads_; }

  // Calls work(begin, end, thread) for ranges that cover [0, count), of at most `grain` items each; less than two grains
  // stay on the calling thread, whole. `thread` < threads() tells whose scratch memory to use. Work must not throw.
  // Only one call at a time.
  template <class Work>
  void ranges(int64_t count, int64_t grain, const Work& work) {
    grain = grain < 1 ? 1 : grain;
    if (threads_ == 1 || count < 2 * grain) {
      if (count > 0) work(int64_t{0}, count, 0);
      return;
    }
    const auto call = [](const void* context, int64_t begin, int64_t end, int thread) noexcept {
      (*static_cast<const Work*>(context))(begin, end, thread);
    };
    run(count, grain, call, &work);
  }

 private:
  using Call = void (*)(const void* context, int64_t begin, int64_t end, int thread) noexcept;
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };

  void run(int64_t count, int64_t grain, Call call, const void* context);
  void take_shares(int thread);
  void worker(int thread);
  void stop();

  const int threads_;
  std::unique_ptr<Share[]> shares_;
  int64_t grain_ = 1;
  Call call_ = nullptr;
  const void* context_ = nullptr;
  // From the low bits up: threads inside the current job (12 bits), job open (1 bit), stopping (1 bit), number of the job.
  // A thread enters by adding itself while the job is open, so that nobody enters a job that is over.
  std::atomic<uint32_t> state_{0};
  std::vector<std::thread> workers_;
};

// A sleeping thread wakes up in about 2 us, in which a core does about this many elementwise operations.
inline constexpr int64_t kElementsPerThread = 16384;

}  // namespace fx
