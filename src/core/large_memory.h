// Main memory for much data: in the largest pages that the system has, which it hands out, and takes back, in less time.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace fx {

struct FreeMemory {
  void operator()(std::byte* memory) const noexcept { std::free(memory); }
};
using LargeMemory = std::unique_ptr<std::byte[], FreeMemory>;

// Its contents are undefined. Throws std::bad_alloc.
LargeMemory allocate_large(size_t bytes);

}  // namespace fx
