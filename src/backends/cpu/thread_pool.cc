#include "backends/cpu/thread_pool.h"

#include <immintrin.h>

#include <algorithm>
#include <system_error>

#include "core/error.h"

namespace fx {
namespace {

constexpr uint32_t kInside = (1u << 12) - 1, kOpen = 1u << 12, kStop = 1u << 13, kJob = 1u << 14;
constexpr int kSpins = 1000;  // about 50 us of _mm_pause on a Zen 4

}  // namespace

ThreadPool::ThreadPool(int threads)
    : threads_(std::clamp(threads, 1, 1024)), shares_(std::make_unique<Share[]>(threads_)) {
  workers_.reserve(static_cast<size_t>(threads_));
  try {
    for (int thread = 1; thread < threads_; ++thread) workers_.emplace_back([this, thread] { worker(thread); });
  } catch (const std::system_error& error) {
    const size_t started = workers_.size() + 1;
    stop();  // no destructor runs after this, and a running thread must be joined
    fail(ErrorCode::device, "cannot start {} threads, only {}: {}; take fewer", threads_, started,
         error.code().message());
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  state_.fetch_or(kStop);
  state_.notify_all();
  for (std::thread& thread : workers_) thread.join();
}

void ThreadPool::run(int64_t count, int64_t grain, Call call, const void* context) {
  for (int64_t i = 0; i < threads_; ++i) {
    shares_[i].next.store(count * i / threads_, std::memory_order_relaxed);
    shares_[i].end = count * (i + 1) / threads_;
  }
  grain_ = grain;
  call_ = call;
  context_ = context;
  state_.store((state_.load(std::memory_order_relaxed) & ~kInside) + (kJob | kOpen), std::memory_order_release);
  state_.notify_all();
  take_shares(0);
  state_.fetch_and(~kOpen, std::memory_order_acq_rel);
  for (int spins = 0; state_.load(std::memory_order_acquire) & kInside; ++spins) {
    if (spins < kSpins) {
      _mm_pause();
    } else {
      std::this_thread::yield();  // whom we wait for may need this core
    }
  }
}

// First the thread's own share, then what is left of the others'.
void ThreadPool::take_shares(int thread) {
  for (int i = 0; i < threads_; ++i) {
    Share& share = shares_[(thread + i) % threads_];
    while (share.next.load(std::memory_order_relaxed) < share.end) {
      const int64_t begin = share.next.fetch_add(grain_, std::memory_order_relaxed);
      if (begin < share.end) call_(context_, begin, std::min(begin + grain_, share.end), thread);
    }
  }
}

void ThreadPool::worker(int thread) {
  uint32_t seen = 0;  // the job we were in last
  for (int spins = 0;;) {
    uint32_t state = state_.load(std::memory_order_acquire);
    if (state & kStop) return;
    const bool fresh = (state & kOpen) && state / kJob != seen;
    if (fresh && state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) {
      seen = state / kJob;
      take_shares(thread);
      state_.fetch_sub(1, std::memory_order_release);
      spins = 0;
    } else if (fresh || ++spins < kSpins) {
      _mm_pause();
    } else {
      state_.wait(state, std::memory_order_acquire);
      spins = 0;
    }
  }
}

}  // namespace fx
