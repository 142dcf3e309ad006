#include "core/upload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "core/error.h"
#include "support/forwarding_runtime.h"

namespace fx {
namespace {

constexpr size_t kMuch = size_t{1} << 40;  // worth all lanes

// Has memory for so many lanes.
struct FewLanes final : test::ForwardingRuntime {
  explicit FewLanes(Runtime& inner, size_t most) : ForwardingRuntime(inner), left(most) {}
  std::unique_ptr<Staging> stage(size_t bytes) override {
    check(left > 0, ErrorCode::out_of_memory, "no room for a lane of {} bytes", bytes);
    --left;
    return ForwardingRuntime::stage(bytes);
  }
  size_t left;
};

TEST(UploadLanes, EachTransferArrivesOnceAndOneAtATime) {
  const auto runtime = make_host_runtime();
  UploadLanes lanes(*runtime, 64, kMuch);
  for (const size_t count : {size_t{0}, size_t{1}, size_t{100}}) {  // the lanes are used again
    std::vector<std::vector<std::byte>> arrived(count);
    std::atomic<int> placing = 0;
    const auto bytes_of = [](size_t transfer) { return 1 + transfer % 64; };
    const auto fill = [&](size_t transfer, std::byte* target) {
      std::memset(target, static_cast<int>(transfer), bytes_of(transfer));
      return bytes_of(transfer);
    };
    const auto place = [&](size_t transfer, std::byte* data) {
      EXPECT_EQ(++placing, 1);
      EXPECT_TRUE(arrived[transfer].empty());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));  // time for another thread to come in between
      arrived[transfer].assign(data, data + bytes_of(transfer));
      --placing;
    };
    lanes.run(count, fill, place);
    for (size_t i = 0; i < count; ++i) {
      EXPECT_EQ(arrived[i], std::vector(bytes_of(i), static_cast<std::byte>(i))) << i;
    }
  }
}

TEST(UploadLanes, TakesAsMuchMemoryAsTheWorkIsWorth) {
  const auto runtime = make_host_runtime();
  FewLanes counted(*runtime, 100);
  const auto lanes = [&](size_t total) {
    const size_t before = counted.left;
    const UploadLanes made(counted, 1000, total);
    return before - counted.left;
  };
  EXPECT_EQ(lanes(0), 0u);
  EXPECT_EQ(lanes(1), 1u);
  EXPECT_EQ(lanes(UploadLanes::kTransfer - 1), 1u);
  const size_t cores = std::max(1u, std::thread::hardware_concurrency());
  EXPECT_EQ(lanes(UploadLanes::kTransfer), std::min<size_t>(cores, 2));
  EXPECT_EQ(lanes(kMuch), std::min<size_t>(cores, UploadLanes::kMost));
}

TEST(UploadLanes, OneLaneIsEnough) {
  const auto runtime = make_host_runtime();
  FewLanes one(*runtime, 1), none(*runtime, 0);
  UploadLanes lanes(one, 8, kMuch);
  size_t placed = 0;
  lanes.run(
      50, [](size_t, std::byte*) { return size_t{8}; }, [&](size_t, std::byte*) { ++placed; });
  EXPECT_EQ(placed, 50u);
  EXPECT_THROW(UploadLanes(none, 8, kMuch), Error);
}

TEST(UploadLanes, AnErrorEndsTheWorkAndTheLanesCanBeUsedAgain) {
  const auto runtime = make_host_runtime();
  UploadLanes lanes(*runtime, 8, kMuch);
  std::atomic<size_t> placed = 0;
  const auto run = [&](size_t bad) {
    placed = 0;
    const auto fill = [&](size_t transfer, std::byte*) {
      check(transfer != bad, ErrorCode::bad_file, "transfer {}", transfer);
      if (transfer > bad) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // time to hear of it
      return size_t{8};
    };
    lanes.run(4000, fill, [&](size_t, std::byte*) { ++placed; });
  };
  EXPECT_THROW(run(17), Error);
  EXPECT_LT(placed, 2000u);
  run(4000);
  EXPECT_EQ(placed, 4000u);
}

TEST(UploadLanes, ATransferHoldsWholeRows) {
  EXPECT_EQ(UploadLanes::rows_for(UploadLanes::kTransfer / 4), 4);
  EXPECT_EQ(UploadLanes::rows_for(UploadLanes::kTransfer / 4 + 1), 3);
  EXPECT_EQ(UploadLanes::rows_for(10 * UploadLanes::kTransfer), 1);
}

}  // namespace
}  // namespace fx
