#include "core/large_memory.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

namespace fx {
namespace {

TEST(LargeMemory, HoldsAnySize) {
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{4} << 20, (size_t{4} << 20) + 1}) {
    const LargeMemory memory = allocate_large(bytes);
    if (bytes == 0) continue;
    std::memset(memory.get(), 7, bytes);
    EXPECT_EQ(memory[bytes - 1], std::byte{7});
  }
  EXPECT_EQ(reinterpret_cast<uintptr_t>(allocate_large(size_t{6} << 20).get()) % (2 << 20), 0u) << "whole large pages";
}

}  // namespace
}  // namespace fx
