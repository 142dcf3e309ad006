// How exactly a model computes. What each word means for a tensor is said once, in nn/model_types.h.
#pragma once

#include <string_view>

namespace fx {

// f32: everything. bf16: weights and activations in bf16, sums in f32. fp8: as bf16, but for the linear layers of the
// transformer's blocks, whose weights are e4m3 with one scale for each output channel and whose inputs are quantised row
// by row as they come.
enum class Precision { f32, bf16, fp8 };

constexpr std::string_view name(Precision precision) {
  constexpr std::string_view names[] = {"f32", "bf16", "fp8"};
  return names[static_cast<int>(precision)];
}

}  // namespace fx
