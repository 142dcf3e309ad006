#include "backends/cuda/scratch.h"

#include <algorithm>
#include <bit>

namespace fx::cuda {

std::byte* Scratch::bytes(int64_t bytes) {
  if (blocks_.empty() || blocks_.back().tensor().count() < bytes) {
    const auto size = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(bytes, 1 << 20))));
    blocks_.emplace_back(runtime_, DType::u8, Shape{size});
  }
  return blocks_.back().tensor().data<std::byte>();
}

}  // namespace fx::cuda
