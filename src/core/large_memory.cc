#include "core/large_memory.h"

#include <sys/mman.h>

#include <new>

namespace fx {

LargeMemory allocate_large(size_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const bool large = bytes >= 2 * kHugePage;
  void* memory =
      large ? std::aligned_alloc(kHugePage, (bytes + kHugePage - 1) / kHugePage * kHugePage) : std::malloc(bytes);
  if (!memory && bytes > 0) throw std::bad_alloc();
  if (large) madvise(memory, bytes, MADV_HUGEPAGE);  // a wish; it may be refused
  return LargeMemory(static_cast<std::byte*>(memory));
}

}  // namespace fx
