#include "core/large_memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace fx {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

void FreeMemory::operator()(std::byte* memory) const noexcept {
  if (mapped > 0) munmap(memory, mapped);
  else delete[] memory;
}

LargeMemory allocate_large(size_t bytes) {
  if (bytes < 2 * kHugePage) return {new std::byte[bytes], {}};
  if (bytes > SIZE_MAX / 2) throw std::bad_alloc();
  const size_t size = (bytes + kHugePage - 1) / kHugePage * kHugePage, all = size + kHugePage;
  void* mapped = mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  auto* first = static_cast<std::byte*>(mapped);
  const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(first) % kHugePage) % kHugePage,
               after = kHugePage - before;
  if (before > 0) munmap(first, before);
  if (after > 0) munmap(first + before + size, after);
  madvise(first + before, size, MADV_HUGEPAGE);  // a wish; it may be refused
  return {first + before, FreeMemory{size}};
}

}  // namespace fx
