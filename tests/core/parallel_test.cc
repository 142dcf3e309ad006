#include "core/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
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

// Pieces that divide their work again must not start threads by the square of the cores.
TEST(ParallelFor, WithinAPieceWorksOnThePiecesThread) {
  const auto check_pieces = [](std::thread::id outer) {
    parallel_for(4, [&](int64_t) { EXPECT_EQ(std::this_thread::get_id(), outer); });
  };
  parallel_for(8, [&](int64_t) { check_pieces(std::this_thread::get_id()); });
  EXPECT_THROW(parallel_for(8, [](int64_t i) { check(i != 3, ErrorCode::internal, "piece {}", i); }), Error);
  // One piece leaves the cores to what it divides, and so does a call that has ended.
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "one core";
  std::barrier both(2);
  parallel_for(1, [&](int64_t) { parallel_for(2, [&](int64_t) { both.arrive_and_wait(); }); });
}

}  // namespace
}  // namespace fx
