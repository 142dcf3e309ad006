// The inner loop of every matrix product: a tile of sums that stays in registers, fed by a packed panel.
#include "backends/cpu/kernels/table.h"
#include "backends/cpu/kernels/vec.h"

namespace fx::FX_ISA {
namespace {

// 24 of 32 vector registers (12 of 16 with AVX2) hold sums; the rest holds two vectors of the panel and a broadcast.
constexpr int kTileVectors = 2;
constexpr int kTileColumns = kTileVectors * kLanes;
constexpr int kTileRows = kLanes == 16 ? 12 : 6;
// Sums run over at most this many products before they are added up: keeps rounding small for deep products.
constexpr int64_t kChunk = 512;

// `segments` pieces of each row; the pieces of one segment are Rows pointers at a.
template <int Rows>
void multiply_rows(const float* const* a, int segments, int64_t first, int64_t depth, const float* panel, float* c,
                   int64_t c_stride, bool accumulate) {
  Vec sum[Rows][kTileVectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < kTileVectors; ++j) sum[i][j] = Vec{};
  }
  for (int segment = 0; segment < segments; ++segment, a += Rows) {
    const float* row[Rows];
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) row[i] = a[i] + first;
    for (int64_t k = 0; k < depth; ++k, panel += kTileColumns) {
      Vec b[kTileVectors];
#pragma GCC unroll 2
      for (int j = 0; j < kTileVectors; ++j) b[j] = load(panel + j * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < Rows; ++i) {
        const Vec x = splat(row[i][k]);
#pragma GCC unroll 2
        for (int j = 0; j < kTileVectors; ++j) sum[i][j] += x * b[j];
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < kTileVectors; ++j) {
      float* target = c + i * c_stride + j * kLanes;
      store(target, accumulate ? load(target) + sum[i][j] : sum[i][j]);
    }
  }
}

using MultiplyRows = void (*)(const float* const*, int, int64_t, int64_t, const float*, float*, int64_t, bool);
constexpr MultiplyRows kMultiplyRows[] = {
    multiply_rows<1>, multiply_rows<2>, multiply_rows<3>, multiply_rows<4>,  multiply_rows<5>,  multiply_rows<6>,
#if defined(__AVX512F__)
    multiply_rows<7>, multiply_rows<8>, multiply_rows<9>, multiply_rows<10>, multiply_rows<11>, multiply_rows<12>,
#endif
};
static_assert(sizeof kMultiplyRows / sizeof kMultiplyRows[0] == kTileRows);

void multiply(const TileRows& a, const float* panel, float* c, int64_t c_stride, bool accumulate) {
  const MultiplyRows run = kMultiplyRows[a.rows - 1];
  if (a.depth <= kChunk) {  // several segments at once, as far as a chunk goes
    const int together = static_cast<int>(kChunk / (a.depth > 0 ? a.depth : 1));
    for (int s = 0; s < a.segments; s += together) {
      const int count = a.segments - s < together ? a.segments - s : together;
      run(a.pieces + s * a.rows, count, 0, a.depth, panel, c, c_stride, accumulate || s > 0);
      panel += count * a.depth * kTileColumns;
    }
    return;
  }
  for (int s = 0; s < a.segments; ++s) {
    for (int64_t k = 0; k < a.depth; k += kChunk) {
      const int64_t chunk = a.depth - k < kChunk ? a.depth - k : kChunk;
      run(a.pieces + s * a.rows, 1, k, chunk, panel, c, c_stride, accumulate || s + k > 0);
      panel += chunk * kTileColumns;
    }
  }
}

// Four rows of the weight against Rows rows of a from `first` on, all of them streamed along their dense axis.
template <int Rows>
void multiply_few_rows(const TileRows& a, int first, const float* weight, int64_t stride, int columns, float* c) {
  constexpr int kColumns = 4;
  for (int column = 0; column < columns; column += kColumns) {
    const int count = columns - column < kColumns ? columns - column : kColumns;
    const float* w[kColumns];
    for (int j = 0; j < kColumns; ++j) w[j] = weight + (column + (j < count ? j : 0)) * stride;
    Vec sum[Rows][kColumns] = {};
    for (int segment = 0; segment < a.segments; ++segment) {
      const float* const* x_rows = a.pieces + segment * a.rows + first;
      const auto step = [&](auto&& fetch) {
        Vec x[Rows];
#pragma GCC unroll 4
        for (int i = 0; i < Rows; ++i) x[i] = fetch(x_rows[i]);
#pragma GCC unroll 4
        for (int j = 0; j < kColumns; ++j) {
          const Vec y = fetch(w[j]);
#pragma GCC unroll 4
          for (int i = 0; i < Rows; ++i) sum[i][j] += x[i] * y;
        }
      };
      int64_t k = 0;
      for (; k + kLanes <= a.depth; k += kLanes) step([k](const float* p) { return load(p + k); });
      if (const int64_t rest = a.depth - k; rest > 0)
        step([k, rest](const float* p) { return load_part(p + k, rest); });
      for (int j = 0; j < kColumns; ++j) w[j] += a.depth;
    }
    for (int i = 0; i < Rows; ++i) {
      for (int j = 0; j < count; ++j) c[(first + i) * kMaxTileColumns + column + j] = sum_lanes(sum[i][j]);
    }
  }
}

void multiply_few(const TileRows& a, const float* weight, int64_t stride, int columns, float* c) {
  int i = 0;
  for (; i + 4 <= a.rows; i += 4) multiply_few_rows<4>(a, i, weight, stride, columns, c);
  if (a.rows - i == 3) multiply_few_rows<3>(a, i, weight, stride, columns, c);
  if (a.rows - i == 2) multiply_few_rows<2>(a, i, weight, stride, columns, c);
  if (a.rows - i == 1) multiply_few_rows<1>(a, i, weight, stride, columns, c);
}

// Transposes a square of kLanes x kLanes: log2(kLanes) rounds, each of which exchanges halves between two rows.
template <int Half>
inline void exchange(Vec* v) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if (i & Half) continue;
    const Vec a = v[i], b = v[i + Half];
    v[i] = pick(
        a, b, [](int lane) constexpr { return lane & Half ? kLanes + lane - Half : lane; });
    v[i + Half] = pick(
        a, b, [](int lane) constexpr { return lane & Half ? kLanes + lane : lane + Half; });
  }
}

inline void transpose(Vec* v) {
  if constexpr (kLanes == 16) exchange<8>(v);
  exchange<4>(v);
  exchange<2>(v);
  exchange<1>(v);
}

void pack_transposed(const float* source, int64_t stride, int count, int64_t depth, float* panel) {
  for (int group = 0; group < kTileColumns; group += kLanes) {
    float* target = panel + group;
    int64_t k = 0;
    for (; k + kLanes <= depth; k += kLanes) {
      Vec v[kLanes];
#pragma GCC unroll 16
      for (int j = 0; j < kLanes; ++j) v[j] = group + j < count ? load(source + (group + j) * stride + k) : Vec{};
      transpose(v);
#pragma GCC unroll 16
      for (int j = 0; j < kLanes; ++j) store(target + (k + j) * kTileColumns, v[j]);
    }
    for (; k < depth; ++k) {
      for (int j = 0; j < kLanes; ++j) {
        target[k * kTileColumns + j] = group + j < count ? source[(group + j) * stride + k] : 0.0f;
      }
    }
  }
}

void pack_columns(const float* source, int64_t stride, int count, int64_t depth, float* panel) {
  for (int64_t k = 0; k < depth; ++k, source += stride, panel += kTileColumns) {
    for (int j = 0; j < kTileColumns; ++j) panel[j] = j < count ? source[j] : 0.0f;
  }
}

}  // namespace

void fill_gemm(Kernels& kernels) {
  kernels.tile_rows = kTileRows;
  kernels.tile_columns = kTileColumns;
  kernels.pack_transposed = pack_transposed;
  kernels.pack_columns = pack_columns;
  kernels.multiply = multiply;
  kernels.multiply_few = multiply_few;
}

}  // namespace fx::FX_ISA
