// Adapters as operations see them; args.h explains letters and types.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace fx {

// Low-rank additions to one linear layer: y[:, rows] += ((x a^T) * scale)[:, ranks] b_segment^T for each of the first
// `count` segments. All five tensors are device data, read when the operation runs. Each segment has a block of b of its own,
// (rows, ranks rounded up to kLoraStep), so that layers fused of several cost no more than their parts, and what an adapter
// file has can be copied as it is. First ranks and the beginnings of blocks are multiples of kLoraStep. What no segment covers may
// be anything, NaN too.
struct LoraOperand {
  Tensor a;         // (R, in) f32, or bf16 where the weight is not f32
  Tensor b;         // (n) of the same type: the blocks
  Tensor scale;     // (R) f32
  Tensor segments;  // (max segments, 5) i32: first rank, ranks, first row, rows, first element of b
  Tensor count;     // (1) i32; 0 means no adapter
  int64_t out = 0;  // rows of the layer
  bool defined() const { return a.defined(); }
};

// What matrix units take at a time.
constexpr int64_t kLoraStep = 8;
constexpr int64_t lora_pitch(int64_t ranks) { return (ranks + kLoraStep - 1) / kLoraStep * kLoraStep; }

// weight = base + the low-rank difference of a slot: what makes the layer compute with the adapter at no cost. Without
// segments it is the base, quantised: the same bits each time.
struct MergeLoraArgs {
  Tensor base;  // (out, in) f32 or bf16: never quantised, or small differences would vanish
  LoraOperand lora;
  Tensor weight;        // (out, in) of the base's type, or e4m3
  Tensor weight_scale;  // (out) f32, with a weight of e4m3
};

// An adapter laid into the front of its layer's weight, in e4m3 on both sides of the product:
//   weight_front[n, e] = b[n, r] * column_scale[e] / weight_scale[n]      for the rows and ranks of the segments,
//   weight_down[e, c]  = scale[r] * a[r, c] / (column_scale[e] * kFoldAlpha),
// zeros elsewhere, so that front and down together multiply to the adapter's difference. Rank r has column e = front_column(r,
// E): in groups of kFrontStep from the last column on, so that what is used ends where the weight begins. The operation
// chooses column_scale, 0 for ranks without effect, so that neither side leaves the range of e4m3; to be called whenever
// matrices, scales or segments have changed. `room` says how well that went: the smallest column_scale / (|scale[r]| |a[r]|)
// of all ranks, 0 where one lies beyond the front. From 1 on the front is as good as the operand beside the weight; below it
// must not be used. `reach` says how many last columns have all that has an effect, or up to 7 more.
struct FoldLoraArgs {
  LoraOperand lora;     // undefined: zeros
  Tensor weight_scale;  // (out) f32
  Tensor weight_front;  // (out, E) e4m3
  Tensor weight_down;   // (E, in) e4m3
  Tensor column_scale;  // (E) f32, written
  Tensor room;          // (1) f32, with an operand; lowered: the caller fills it with +infinity first
  Tensor reach;         // (1) i32, with an operand; raised: the caller fills it with 0 first
};

struct FoldLorasArgs {
  std::vector<FoldLoraArgs> layers;  // different ones, in any order
};

constexpr float kFoldAlpha = 0x1p-8f;
constexpr int64_t kFrontStep = 16;  // of what products in e4m3 contract
constexpr int64_t front_column(int64_t rank, int64_t columns) {
  return columns - (rank / kFrontStep + 1) * kFrontStep + rank % kFrontStep;
}

}  // namespace fx
