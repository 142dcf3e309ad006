// Slices of a fused layer that were one LoRA once.
#pragma once

#include <vector>

#include "lora/adapter.h"

namespace fx {

// Joins patches of one module that follow each other in its rows and have the same A, bit for bit, and the same scale:
// files with q, k and v apart, made from one with a fused qkv, hold its A three times, which would be three times the
// work. The sum is the same.
void join_shared_down(std::vector<Patch>& patches);

}  // namespace fx
