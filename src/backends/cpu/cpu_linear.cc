// y = activation(x weight^T + bias + LoRA), or y += gate * (...), in tiles.
//
// The weight is cut into panels of tile_columns rows. A thread packs a few panels (they then lie in its second-level
// cache) and multiplies all its rows of x with them, twelve at a time; each finished tile gets its epilogue at once.
#include <algorithm>
#include <limits>

#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/lora_product.h"
#include "backends/cpu/rows.h"

namespace fx {
namespace {

// Up to this many rows, reading the weight once straight from memory beats packing it.
constexpr int64_t kFewRows = 6;

// Everything a thread needs to compute any tile.
struct Product {
  const Kernels& kernels;
  Rows x;
  int64_t rows = 0, depth = 0;
  const float* weight = nullptr;  // (columns, depth)
  const float* bias = nullptr;
  struct Output {
    Rows y;
    int64_t columns = 0;
    Activation activation = Activation::none;
  } outputs[2];
  bool add = false;
  StepRows gate;
  const LoraProduct* lora = nullptr;  // null: none active
  const float* t = nullptr;           // (rows, used ranks)
  int tile_rows = 0;

  int64_t panels(int output) const {
    return (outputs[output].columns + kernels.tile_columns - 1) / kernels.tile_columns;
  }
  int64_t panels() const { return panels(0) + panels(1); }
  int64_t tiles() const { return (rows + tile_rows - 1) / tile_rows; }
};

// Twelve rows that lie a multiple of 4 KiB apart share one set of the first-level cache, which has eight ways.
int choose_tile_rows(const Kernels& kernels, const Rows& x) {
  return x.row_stride % 1024 == 0 ? std::min(kernels.tile_rows, 8) : kernels.tile_rows;
}

struct Panel {
  const Product::Output* output;
  int64_t column;      // first column within the output
  int64_t weight_row;  // the same within the weight
  int columns;
  const float* packed = nullptr;  // null for few rows
  const float* lora = nullptr;    // null if no adapter touches these columns
};

Panel locate(const Product& p, int64_t index) {
  const int output = index < p.panels(0) ? 0 : 1;
  const int64_t column = (output == 0 ? index : index - p.panels(0)) * p.kernels.tile_columns;
  return {&p.outputs[output], column, column + (output == 0 ? 0 : p.outputs[0].columns),
          static_cast<int>(std::min<int64_t>(p.kernels.tile_columns, p.outputs[output].columns - column))};
}

Panel pack_panel(const Product& p, int64_t index, bool few, float* packed, int64_t lora_offset) {
  Panel panel = locate(p, index);
  if (!few) {
    p.kernels.pack_transposed(p.weight + panel.weight_row * p.depth, p.depth, panel.columns, p.depth, packed);
    panel.packed = packed;
  }
  if (p.lora && p.lora->pack(p.kernels, panel.weight_row, panel.columns, packed + lora_offset)) {
    panel.lora = packed + lora_offset;
  }
  return panel;
}

// One tile from its first row on.
void compute_tile(const Product& p, const Panel& panel, int64_t first_row) {
  const int rows = static_cast<int>(std::min<int64_t>(p.tile_rows, p.rows - first_row));
  const float *x[kMaxTileRows], *t[kMaxTileRows], *gate[kMaxTileRows];
  float* y[kMaxTileRows];
  p.x.addresses(first_row, rows, 0, x);
  panel.output->y.addresses(first_row, rows, panel.column, y);
  for (int i = 0; i < rows; ++i) {
    __builtin_prefetch(y[i], 1);  // the product takes microseconds; y should be there when it is done
    __builtin_prefetch(y[i] + 16, 1);
    if (p.gate.base) gate[i] = p.gate[(first_row + i) / p.x.per_batch] + panel.weight_row;
    if (panel.lora) t[i] = p.t + (first_row + i) * p.lora->used_ranks();
  }
  alignas(64) float c[kMaxTileRows * kMaxTileColumns];
  const TileRows x_rows{x, rows, 1, p.depth};
  if (panel.packed) {
    p.kernels.multiply(x_rows, panel.packed, c, kMaxTileColumns, false);
  } else {
    p.kernels.multiply_few(x_rows, p.weight + panel.weight_row * p.depth, p.depth, panel.columns, c);
  }
  if (panel.lora) p.kernels.multiply({t, rows, 1, p.lora->used_ranks()}, panel.lora, c, kMaxTileColumns, true);
  p.kernels.finish_tile({.c = c,
                         .bias = p.bias ? p.bias + panel.weight_row : nullptr,
                         .gate = p.gate.base ? gate : nullptr,
                         .y = y,
                         .rows = rows,
                         .columns = panel.columns,
                         .activation = panel.output->activation,
                         .add = p.add});
}

struct Grid {
  int column_parts = 1, row_parts = 1;
};

// How to cut panels x tiles over the threads: least work for the busiest, where packing a panel counts as two tiles.
Grid choose_grid(int64_t panels, int64_t tiles, int threads) {
  Grid best;
  int64_t best_cost = std::numeric_limits<int64_t>::max();
  for (int columns = 1; columns <= threads; ++columns) {
    const int rows = threads / columns;
    const int64_t cost = ((panels + columns - 1) / columns) * ((tiles + rows - 1) / rows + 2);
    if (cost < best_cost) best_cost = cost, best = {columns, rows};
  }
  return best;
}

// A thread works on groups of panels: as many as fill half of a second-level cache, so that the rows of x are fetched
// from further away only once per group.
struct Group {
  static constexpr int kMaxPanels = 8;
  static constexpr int64_t kBytes = 512 << 10;
  int panels;
  int64_t stride;  // floats of one packed panel, LoRA included

  Group(const Product& p, int64_t lora_capacity) : stride((p.depth + lora_capacity) * p.kernels.tile_columns) {
    panels = static_cast<int>(std::clamp<int64_t>(kBytes / (stride * sizeof(float)), 1, kMaxPanels));
  }
  int64_t floats() const { return panels * stride; }
};

// Part n of `count` equal parts of [first, last).
struct Span {
  int64_t begin, end;
  Span(int64_t first, int64_t last, int64_t n, int64_t count)
      : begin(first + (last - first) * n / count), end(first + (last - first) * (n + 1) / count) {}
};

// `scratch` has room for one group per thread.
void run(const Product& p, ThreadPool& threads, int64_t lora_capacity, float* scratch) {
  constexpr int64_t kProductsPerThread = 1 << 18;  // about 4 us of one core
  const int64_t products = p.rows * (p.outputs[0].columns + p.outputs[1].columns) * p.depth;
  const int useful = static_cast<int>(std::clamp<int64_t>(products / kProductsPerThread, 1, threads.threads()));
  const Grid grid = choose_grid(p.panels(), p.tiles(), useful);
  const bool few = p.rows <= kFewRows;
  const Group group(p, lora_capacity);
  const int64_t lora_offset = p.depth * p.kernels.tile_columns;
  // Every part of the grid is cut into equal groups; one group is what a thread takes at a time.
  const int64_t panels_per_part = (p.panels() + grid.column_parts - 1) / grid.column_parts;
  const int64_t groups = (panels_per_part + group.panels - 1) / group.panels;
  const int64_t parts = grid.column_parts * grid.row_parts;
  threads.ranges(parts * groups, parts > 1 ? 1 : groups, [&](int64_t begin, int64_t end, int thread) {
    float* packed = scratch + thread * group.floats();
    for (int64_t task = begin; task < end; ++task) {
      const int64_t part = task / groups;
      const Span columns(0, p.panels(), part / grid.row_parts, grid.column_parts);
      const Span tiles(0, p.tiles(), part % grid.row_parts, grid.row_parts);
      const Span indices(columns.begin, columns.end, task % groups, groups);
      Panel panels[Group::kMaxPanels];
      const int count = static_cast<int>(indices.end - indices.begin);
      for (int n = 0; n < count; ++n) {
        panels[n] = pack_panel(p, indices.begin + n, few, packed + n * group.stride, lora_offset);
      }
      for (int64_t tile = tiles.begin; tile < tiles.end; ++tile) {
        for (int n = 0; n < count; ++n) compute_tile(p, panels[n], tile * p.tile_rows);
      }
    }
  });
}

}  // namespace

void CpuOps::do_linear(const LinearArgs& args) {
  check(!args.x_mean.defined(), ErrorCode::unsupported, "[linear] the back-end cpu takes no mean of x apart");
  Product product{.kernels = kernels_, .x = Rows(args.x)};
  product.rows = args.x.size(0) * args.x.size(1);
  product.depth = args.x.size(2);
  product.weight = args.weight.f32();
  product.bias = args.bias.f32();
  product.add = args.add;
  if (args.gate.defined()) product.gate = StepRows(args.gate);
  product.tile_rows = choose_tile_rows(kernels_, product.x);
  for (int i = 0; i < 2; ++i) {
    const LinearOutput& output = args.outputs[i];
    if (output.y.defined()) product.outputs[i] = {Rows(output.y), output.y.size(2), output.activation};
  }
  if (product.rows == 0) return;

  const LoraProduct lora(args.lora);
  const int64_t capacity = args.lora.defined() ? args.lora.a.size(0) : 0;
  // Sized for the capacity, not for the ranks in use, so that another adapter does not allocate.
  const int64_t panel_floats = threads_.threads() * Group(product, capacity).floats();
  float* panels = scratch(panel_floats + product.rows * capacity);
  if (lora.active()) {
    float* t = panels + panel_floats;
    Product down{.kernels = kernels_, .x = product.x, .rows = product.rows, .depth = product.depth};
    down.weight = lora.a();
    down.tile_rows = product.tile_rows;
    down.outputs[0].columns = lora.used_ranks();
    down.outputs[0].y.base = t;
    down.outputs[0].y.per_batch = product.rows;
    down.outputs[0].y.row_stride = lora.used_ranks();
    run(down, threads_, capacity, panels);
    lora.clear_gaps(product.rows, t);
    product.lora = &lora;
    product.t = t;
  }
  run(product, threads_, capacity, panels);
}

}  // namespace fx
