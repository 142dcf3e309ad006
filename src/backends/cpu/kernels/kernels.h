// The inner loops of the cpu back-end: single-threaded functions on pointers and sizes, compiled once per instruction
// set and reached through a table that is chosen when the back-end is made. So one binary runs everywhere from AVX2 on.
//
// All strides are in floats. No function allocates, throws or reads memory outside of what its arguments say.
#pragma once

#include <cstdint>

#include "ops/args.h"

namespace fx {

inline constexpr int kMaxTileRows = 12;
inline constexpr int kMaxTileColumns = 32;

// y[i] = activation(c[i] + bias), or y[i] += gate[i] * (...), for the rows of one tile of a matrix product.
struct TileEpilogue {
  const float* c;            // rows of stride kMaxTileColumns
  const float* bias;         // (columns) or null
  const float* const* gate;  // per row (columns), or null for 1
  float* const* y;           // per row (columns)
  int rows, columns;
  Activation activation;
  bool add;
};

// One row of attention scores, over the keys of one block; see softmax_block.
struct SoftmaxRow {
  float* scores;      // (padded); becomes exp(scale * score + bias - new largest), 0 from `valid` on
  const float* bias;  // (valid) or null
  int64_t valid, padded;
  float scale;
  float* largest;  // running maximum of the row, -inf at first
  float* sum;      // running sum of the exponentials
};

// The left side of a tile: `rows` <= tile_rows rows of a matrix. Each consists of `segments` pieces of `depth` values
// in different places (one for a linear layer, one for each tap of a convolution), which count as one long row.
struct TileRows {
  const float* const* pieces;  // (segments, rows)
  int rows;
  int segments;
  int64_t depth;
};

struct Kernels {
  int tile_rows, tile_columns;

  // A panel holds `depth` rows of tile_columns values, zero from `count` on.
  // panel[k][j] = source[j * stride + k]: rows of a weight become columns.
  void (*pack_transposed)(const float* source, int64_t stride, int count, int64_t depth, float* panel);
  // panel[k][j] = source[k * stride + j].
  void (*pack_columns)(const float* source, int64_t stride, int count, int64_t depth, float* panel);
  // c[i][j] (+)= sum over k of a[i][k] * panel[k][j].
  void (*multiply)(const TileRows& a, const float* panel, float* c, int64_t c_stride, bool accumulate);
  // c[i][j] = a[i] . weight[j], without packing: for few rows or few columns. Rows of c have stride kMaxTileColumns.
  void (*multiply_few)(const TileRows& a, const float* weight, int64_t stride, int columns, float* c);
  void (*finish_tile)(const TileEpilogue& epilogue);

  // Returns the factor by which what was summed with the old maximum must shrink.
  float (*softmax_block)(const SoftmaxRow& row);
  void (*scale)(const float* x, float factor, float* y, int64_t count);

  // One row each. layer_norm: y = (x - mean) / deviation * (gain + gain_offset) + bias.
  void (*layer_norm)(const float* x, const float* gain, float gain_offset, const float* bias, float* y, int64_t count,
                     float eps);
  void (*rms_norm)(const float* x, const float* gain, float* y, int64_t count, float eps);
  void (*norm_rope)(float* x, const float* gain, const float* pe, int64_t count, float eps);
  void (*activate)(Activation activation, const float* x, float* y, int64_t count);
  void (*add)(const float* a, const float* b, float* y, int64_t count);
  void (*multiply_elements)(const float* a, const float* b, float* y, int64_t count);
  void (*add_scaled)(float factor, const float* x, float* y, int64_t count);

  // Channels last. sums and squares (channels, double) grow by the pixels' values and their squares.
  void (*channel_moments)(const float* x, int64_t pixels, int64_t channels, double* sums, double* squares);
  // y = (x - mean) * factor + bias per channel, then SiLU if asked.
  void (*channel_norm)(const float* x, const float* mean, const float* factor, const float* bias, float* y,
                       int64_t pixels, int64_t channels, bool silu);
  void (*to_rgb8)(const float* x, uint8_t* y, int64_t count);
};

enum class InstructionSet { avx2, avx512 };

struct ProcessorFeatures {
  bool avx2;    // x86-64-v3: AVX2, FMA, BMI, F16C
  bool avx512;  // x86-64-v4: F, BW, CD, DQ, VL
};
ProcessorFeatures detect_processor();

// The best that a processor runs. Throws Error(unsupported) where there is not even AVX2 with FMA.
InstructionSet best_instruction_set(ProcessorFeatures features = detect_processor());
const Kernels& kernels_for(InstructionSet set);

}  // namespace fx
