#include "backends/cuda/scratch.h"

#include <algorithm>
#include <bit>

namespace fx::cuda {

float* Scratch::floats(int64_t floats) {
  if (blocks_.empty() || blocks_.back().tensor().count() < floats) {
    const auto size = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(floats, 1 << 18))));
    blocks_.emplace_back(runtime_, DType::f32, Shape{size});
  }
  return blocks_.back().tensor().f32();
}

}  // namespace fx::cuda
