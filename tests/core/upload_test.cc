#include "core/upload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <vector>

#include "core/error.h"

namespace fx {
namespace {

TEST(UploadLanes, EachTransferArrivesOnceAndOneAtATime) {
  const auto runtime = make_host_runtime();
  UploadLanes lanes(*runtime, 64, 100);
  for (const size_t count : {size_t{0}, size_t{1}, size_t{100}}) {  // the lanes are used again
    std::vector<std::vector<std::byte>> arrived(count);
    std::atomic<int> placing = 0;
    const auto bytes_of = [](size_t transfer) { return 1 + transfer % 64; };
    lanes.run(
        count,
        [&](size_t transfer, std::byte* target) {
          std::memset(target, static_cast<int>(transfer), bytes_of(transfer));
          return bytes_of(transfer);
        },
        [&](size_t transfer, std::byte* data) {
          EXPECT_EQ(++placing, 1);
          EXPECT_TRUE(arrived[transfer].empty());
          arrived[transfer].assign(data, data + bytes_of(transfer));
          --placing;
        });
    for (size_t i = 0; i < count; ++i) {
      EXPECT_EQ(arrived[i], std::vector(bytes_of(i), static_cast<std::byte>(i))) << i;
    }
  }
}

TEST(UploadLanes, TakesNoMoreMemoryThanThereAreTransfers) {
  const auto runtime = make_host_runtime();
  const UploadLanes none(*runtime, 1 << 20, 0);
  EXPECT_EQ(runtime->memory().current_bytes, 0u);
  const UploadLanes one(*runtime, 1 << 20, 1);
  EXPECT_LT(runtime->memory().current_bytes, 3u << 20);
}

TEST(UploadLanes, ThrowsWhatAThreadThrowsAndCanBeUsedAgain) {
  const auto runtime = make_host_runtime();
  UploadLanes lanes(*runtime, 8, 50);
  const auto run = [&](size_t bad) {
    std::atomic<size_t> placed = 0;
    lanes.run(
        50,
        [&](size_t transfer, std::byte*) {
          check(transfer != bad, ErrorCode::bad_file, "transfer {}", transfer);
          return size_t{8};
        },
        [&](size_t, std::byte*) { ++placed; });
    return placed.load();
  };
  EXPECT_THROW(run(17), Error);
  EXPECT_EQ(run(50), 50u);
}

}  // namespace
}  // namespace fx
