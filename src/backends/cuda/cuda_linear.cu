// y = activation(x weight^T + bias + LoRA), or y += gate * (...): the product, the low-rank term onto it, and one pass for
// the rest. Without `add` the product is written to y at once, else to scratch memory.
#include "backends/cuda/cuda_error.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"
#include "backends/cuda/lora.h"

namespace fx::cuda {
namespace {

struct Epilogue {
  Rows product, y;
  int64_t columns, count;
  const float* bias;  // of the first column, or null
  Activation activation;
  bool add;
  StepRows gate;
  int64_t first_row;  // of the weight, hence of the gate
};

__global__ void epilogue_kernel(Epilogue e, DeviceFault* fault) {
  for (int64_t i = first_element(); i < e.count; i += element_stride()) {
    const int64_t row = i / e.columns, c = i % e.columns;
    float value = e.product[row][c];
    if (e.bias) value += e.bias[c];
    value = activate(e.activation, value);
    if (e.gate.table) value *= e.gate.row(row / e.y.per_batch, fault)[e.first_row + c];
    e.y[row][c] = e.add ? e.y[row][c] + value : value;
  }
}

// How the rows of (B, L, C) tensors go into one product: as one block where both allow it, else one block per batch entry.
struct Blocks {
  int64_t batches, rows, x_row, x_batch, y_row, y_batch;

  Blocks(const Tensor& x, const Tensor& y)
      : batches(x.size(0)),
        rows(x.size(1)),
        x_row(x.stride(1)),
        x_batch(x.stride(0)),
        y_row(y.stride(1)),
        y_batch(y.stride(0)) {
    if (rows == 1) {
      rows = batches, x_row = x_batch, y_row = y_batch, batches = 1;
    } else if (batches == 1 || (x_batch == rows * x_row && y_batch == rows * y_row)) {
      rows *= batches, batches = 1;
    }
  }
};

}  // namespace

void CudaOps::do_linear(const LinearArgs& a) {
  const int64_t rows = a.x.size(0) * a.x.size(1), in = a.x.size(2), out = a.weight.size(0);
  if (rows == 0 || out == 0) return;
  const int64_t capacity = a.lora.defined() ? a.lora.a.size(0) : 0;
  // Sized for the capacity of the slot, not for the ranks in use. Products come first: their alignment, hence the plan and
  // the bits, must not depend on whether there is a slot.
  const int64_t product_floats = a.add ? rows * out : 0;
  float* products = scratch_.floats(product_floats + rows * capacity);
  float* t = products + product_floats;
  if (capacity > 0) lora_down(a.lora, a.x, t, fault(), stream());

  int64_t first_row = 0;  // of the weight; the outputs take them in order
  for (const LinearOutput& output : a.outputs) {
    if (!output.y.defined()) continue;
    const int64_t columns = output.y.size(2);
    const Tensor product = a.add ? Tensor(products, DType::f32, {a.x.size(0), a.x.size(1), columns}) : output.y;
    const Blocks blocks(a.x, product);
    matmul_.run({.m = blocks.rows,
                 .n = columns,
                 .k = in,
                 .x = a.x.f32(),
                 .x_stride = blocks.x_row,
                 .w = a.weight.f32() + first_row * in,
                 .w_stride = in,
                 .y = product.f32(),
                 .y_stride = blocks.y_row,
                 .batches = blocks.batches,
                 .x_batch = blocks.x_batch,
                 .y_batch = blocks.y_batch});
    if (capacity > 0) lora_up(a.lora, t, first_row, product, stream());

    Epilogue e{.product = Rows(product), .y = Rows(output.y), .columns = columns, .count = rows * columns};
    e.bias = a.bias.defined() ? a.bias.f32() + first_row : nullptr;
    e.activation = output.activation;
    e.add = a.add;
    if (a.gate.defined()) e.gate = StepRows(a.gate);
    e.first_row = first_row;
    if (e.bias || e.activation != Activation::none || e.add) {
      epilogue_kernel<<<blocks_for(e.count), kThreads, 0, stream()>>>(e, fault());
      check_launch("linear: epilogue");
    }
    products += rows * columns;
    first_row += columns;
  }
}

}  // namespace fx::cuda
