#include "core/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
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

}  // namespace
}  // namespace fx
