#include "core/large_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <new>
#include <vector>

#include "core/parallel.h"

namespace fx {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

size_t resident_bytes() {
  size_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

TEST(LargeMemory, HoldsAnySize) {
  for (const size_t bytes : {size_t{0}, size_t{1}, 4 * kMiB - 1, 4 * kMiB, 4 * kMiB + 1, 7 * kMiB}) {
    const LargeMemory memory = allocate_large(bytes);
    ASSERT_NE(memory.get(), nullptr);
    if (bytes == 0) continue;
    std::memset(memory.get(), 7, bytes);
    EXPECT_EQ(memory[bytes - 1], std::byte{7});
    if (bytes >= 4 * kMiB) EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.get()) % (2 * kMiB), 0u) << "whole large pages";
  }
  EXPECT_THROW(allocate_large(SIZE_MAX), std::bad_alloc);
  EXPECT_THROW(allocate_large(SIZE_MAX / 4), std::bad_alloc);
}

// Taken by several threads and freed by one, of sizes that an allocator would put beside each other.
TEST(LargeMemory, GoesBackToTheSystem) {
  const size_t before = resident_bytes();
  for (int cycle = 0; cycle < 3; ++cycle) {
    std::vector<LargeMemory> all(16);
    parallel_for(16, [&](int64_t i) {
      const size_t bytes = (4 + static_cast<size_t>(i)) * kMiB;
      all[static_cast<size_t>(i)] = allocate_large(bytes);
      std::memset(all[static_cast<size_t>(i)].get(), 1, bytes);
    });
    EXPECT_GT(resident_bytes(), before + 150 * kMiB);
  }
  EXPECT_LT(resident_bytes(), before + 20 * kMiB);
}

}  // namespace
}  // namespace fx
