#include "backends/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>

namespace fx::test {
namespace {

// Every item exactly once, by a thread within bounds; no range longer than a grain.
void expect_covered(ThreadPool& pool, int64_t count, int64_t grain) {
  std::vector<std::atomic<int>> times(static_cast<size_t>(count));
  std::atomic<int> misuse{0};
  pool.ranges(count, grain, [&](int64_t begin, int64_t end, int thread) {
    const bool whole = begin == 0 && end == count;
    if (thread < 0 || thread >= pool.threads() || begin >= end || (!whole && end - begin > grain)) ++misuse;
    for (int64_t i = begin; i < end; ++i) ++times[static_cast<size_t>(i)];
  });
  EXPECT_EQ(misuse, 0) << count << " by " << grain;
  for (const auto& t : times) ASSERT_EQ(t, 1) << count << " by " << grain;
}

TEST(ThreadPool, CoversEveryItemOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (const int64_t count : {0, 1, 2, 3, 7, 64, 1000}) {
      for (const int64_t grain : {1, 2, 5, 999, 5000}) expect_covered(pool, count, grain);
    }
  }
}

// Jobs in quick succession: late threads must not enter a job that is over, nor miss the memory of the one before.
TEST(ThreadPool, SurvivesManyShortJobs) {
  ThreadPool pool(4);
  std::vector<int64_t> values(64, 0);
  for (int job = 0; job < 20000; ++job) {
    pool.ranges(64, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) ++values[static_cast<size_t>(i)];
    });
  }
  EXPECT_EQ(std::accumulate(values.begin(), values.end(), int64_t{0}), 64 * 20000);
}

TEST(ThreadPool, WakesSleepingThreads) {
  ThreadPool pool(2);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // the worker is asleep by now
    std::atomic<int> helped{0};
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    pool.ranges(2, 1, [&](int64_t, int64_t, int thread) {
      if (thread == 1) ++helped;
      // Thread 0 holds its item until thread 1 has come for the other one.
      while (thread == 0 && helped == 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    });
    EXPECT_GE(helped, 1);  // 2 if it took over the item of thread 0 as well
  }
}

TEST(ThreadPool, EndsWithoutEverWorking) {
  for (int i = 0; i < 100; ++i) ThreadPool pool(3);
}

TEST(ThreadPool, CorrectsAnImpossibleSize) { EXPECT_EQ(ThreadPool(0).threads(), 1); }

}  // namespace
}  // namespace fx::test
