// Main memory for much data: in the largest pages that the system has, which it hands out in less time, and back to the system
// when it is freed, where the allocator would keep it for itself.
#pragma once

#include <cstddef>
#include <memory>

namespace fx {

struct FreeMemory {
  size_t mapped = 0;  // 0: allocated, not mapped
  void operator()(std::byte* memory) const noexcept;
};
using LargeMemory = std::unique_ptr<std::byte[], FreeMemory>;

// Its contents are undefined. Throws std::bad_alloc.
LargeMemory allocate_large(size_t bytes);

}  // namespace fx
