#include "core/parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "core/error.h"

namespace fx {
namespace {

TEST(ParallelFor, DoesEachPieceOnce) {
  for (const int64_t count : {0, 1, 2, 1000}) {
    std::vector<std::atomic<int>> times(static_cast<size_t>(count));
    parallel_for(count, [&](int64_t i) { ++times[static_cast<size_t>(i)]; });
    for (const auto& n : times) EXPECT_EQ(n, 1);
  }
}

TEST(ParallelFor, ThrowsWhatAPieceThrowsAfterAllHaveEnded) {
  std::atomic<int> running = 0;
  EXPECT_THROW(parallel_for(1000,
                            [&](int64_t i) {
                              ++running;
                              const bool bad = i == 17;
                              --running;
                              check(!bad, ErrorCode::internal, "piece {}", i);
                            }),
               Error);
  EXPECT_EQ(running, 0);
}

TEST(ParallelFor, StartsNoMoreThreadsThanAskedFor) {
  std::mutex mutex;
  std::set<std::thread::id> threads;
  const auto note = [&](int64_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
  };
  parallel_for(20, note, 1);
  EXPECT_EQ(threads, std::set{std::this_thread::get_id()});
}

// Pieces that divide their work again must not start threads by the square of the cores.
TEST(ParallelFor, WithinAPieceWorksOnThePiecesThread) {
  const int64_t pieces = 2 * std::max(1u, std::thread::hardware_concurrency());
  std::atomic<int> done = 0;
  parallel_for(pieces, [&](int64_t) {
    const std::thread::id outer = std::this_thread::get_id();
    parallel_for(4, [&](int64_t) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));  // time for another thread to take one
      done += std::this_thread::get_id() == outer;
    });
  });
  EXPECT_EQ(done, 4 * pieces);
  EXPECT_THROW(parallel_for(pieces,
                            [](int64_t) {
                              parallel_for(4, [](int64_t i) { check(i != 3, ErrorCode::internal, "piece {}", i); });
                            }),
               Error);
}

}  // namespace
}  // namespace fx
