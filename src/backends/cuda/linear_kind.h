// In which type a linear layer is computed, and how its rows go into products.
#pragma once

#include "backends/cuda/matmul.h"
#include "ops/args.h"

namespace fx::cuda {

enum class LinearKind {
  f32,
  bf16,
  widened,       // a weight of e4m3, some of its rows at a time made bf16
  outer_vector,  // weight and input of e4m3, with the scales of their rows
};

LinearKind linear_kind(const LinearArgs& args, Matmul& matmul);

// Of an outer_vector layer: whether the product of an output takes a bias. With few rows and a great depth it does not.
bool adds_bias(const LinearArgs& args, const LinearOutput& output, Matmul& matmul);

// Whether the kernel of a product can do it to bf16.
inline bool fuses_activation(Activation activation) {
  return activation == Activation::none || activation == Activation::gelu_tanh;
}

// In which type the product of an output is written. Before any other activation it is not rounded, nor before a gate where
// the weight is widened, so that older cards round as Hopper does.
inline DType product_type(LinearKind kind, const LinearOutput& output, bool added_later) {
  const bool exact = !fuses_activation(output.activation) || (added_later && kind == LinearKind::widened);
  return kind == LinearKind::f32 || exact ? DType::f32 : output.y.dtype();
}

// What an adapter in the front of a weight needs before the product with it: y (B, L, E) = kFoldAlpha * x weight_down^T for x
// (B, L, in) in e4m3; y in e4m3 or bf16.
Product front_product(const Tensor& x, const Tensor& weight_down, const Tensor& y);

// How the rows of (B, L, C) tensors go into one product: as one block where both allow it, else one block per batch
// entry. `apart` asks for the latter, as entries with scales of their own need.
struct Blocks {
  int64_t batches, rows, x_row, x_batch, y_row, y_batch;

  Blocks(const Tensor& x, const Tensor& y, bool apart)
      : batches(x.size(0)),
        rows(x.size(1)),
        x_row(x.stride(1)),
        x_batch(x.stride(0)),
        y_row(y.stride(1)),
        y_batch(y.stride(0)) {
    if (apart) return;
    if (rows == 1) {
      rows = batches, x_row = x_batch, y_row = y_batch, batches = 1;
    } else if (batches == 1 || (x_batch == rows * x_row && y_batch == rows * y_row)) {
      rows *= batches, batches = 1;
    }
  }
};

}  // namespace fx::cuda
