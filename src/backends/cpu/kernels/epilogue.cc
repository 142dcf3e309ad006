// What follows a matrix product while its tile is in the first-level cache: bias, activation, gate and residual; and
// the softmax of attention scores.
#include "backends/cpu/kernels/table.h"
#include "backends/cpu/kernels/vec_math.h"

namespace fx::FX_ISA {
namespace {

template <class Fetch, class Put, class Act>
inline void finish_vector(const TileEpilogue& e, int row, int column, Fetch fetch, Put put, Act act) {
  Vec value = load(e.c + row * kMaxTileColumns + column);
  if (e.bias) value += fetch(e.bias + column);
  value = act(value);
  float* y = e.y[row] + column;
  if (e.add) value = fetch(y) + (e.gate ? fetch(e.gate[row] + column) * value : value);
  put(y, value);
}

void finish_tile(const TileEpilogue& e) {
  with_activation(e.activation, [&](auto act) {
    for (int row = 0; row < e.rows; ++row) {
      int column = 0;
      for (; column + kLanes <= e.columns; column += kLanes) { finish_vector(e, row, column, load, store, act); }
      if (const int rest = e.columns - column; rest > 0) {
        finish_vector(
            e, row, column, [rest](const float* p) { return load_part(p, rest); },
            [rest](float* p, Vec v) { store_part(p, v, rest); }, act);
      }
    }
  });
}

float softmax_block(const SoftmaxRow& row) {
  constexpr float kInfinity = __builtin_inff();
  Vec largest = splat(-kInfinity);
  for (int64_t i = row.valid; i < row.padded; ++i) row.scores[i] = -kInfinity;
  for (int64_t i = 0; i < row.padded; i += kLanes) {
    Vec s = load(row.scores + i) * row.scale;
    if (row.bias && i < row.valid) {
      s += row.valid - i >= kLanes ? load(row.bias + i) : load_part(row.bias + i, row.valid - i);
    }
    store(row.scores + i, s);
    largest = s > largest ? s : largest;
  }
  float top = *row.largest;
  for (int i = 0; i < kLanes; ++i) top = largest[i] > top ? largest[i] : top;
  const float pivot = top == -kInfinity ? 0.0f : top;  // a row with every key masked so far must not give NaN
  Vec sum{};
  for (int64_t i = 0; i < row.padded; i += kLanes) {
    const Vec p = exp(load(row.scores + i) - pivot);
    store(row.scores + i, p);
    sum += p;
  }
  const float shrink = exp(splat(*row.largest - pivot))[0];
  *row.sum = *row.sum * shrink + sum_lanes(sum);
  *row.largest = top;
  return shrink;
}

void scale(const float* x, float factor, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] * factor;
}

void activate(Activation activation, const float* x, float* y, int64_t count) {
  with_activation(activation, [&](auto act) { map(x, y, count, act); });
}

}  // namespace

void fill_epilogue(Kernels& kernels) {
  kernels.finish_tile = finish_tile;
  kernels.softmax_block = softmax_block;
  kernels.scale = scale;
  kernels.activate = activate;
}

}  // namespace fx::FX_ISA
