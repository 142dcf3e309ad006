#include "backends/cuda/linear_kind.h"

#include <cstddef>
#include <cstdint>

namespace fx::cuda {
namespace {

bool at_16_bytes(const void* address) { return reinterpret_cast<uintptr_t>(address) % 16 == 0; }

// Whether all rows of a (B, L, C) tensor begin at multiples of 16 bytes.
bool rows_at_16_bytes(const Tensor& t) {
  const auto size = static_cast<int64_t>(size_of(t.dtype()));
  for (int axis = 0; axis < 2; ++axis) {
    if (t.size(axis) > 1 && t.stride(axis) * size % 16 != 0) return false;
  }
  return at_16_bytes(t.raw());
}

// The product of one output, as far as the library's choice of a kernel goes: nothing is read.
Product outer_product(const LinearArgs& a, const LinearOutput& output) {
  const int64_t in = a.weight.size(1) + a.front_columns;
  const void* any = a.weight.raw();
  Product p{.m = a.x.size(0) * a.x.size(1), .n = output.y.size(2), .k = in, .x = any};
  const int64_t whole = a.weight.size(1) + (a.weight_front.defined() ? a.weight_front.size(1) : 0);  // see LinearInput
  p.x_stride = a.x.dtype() == DType::f8_e4m3 && a.x.size(1) > 1 ? a.x.stride(1) : whole;
  p.w = any;
  p.w_stride = a.weight.stride(0);
  p.y = output.y.raw();
  p.y_stride = output.y.size(1) > 1 ? output.y.stride(1) : output.y.size(2);
  p.type = DType::f8_e4m3;
  p.y_type = product_type(LinearKind::outer_vector, output, false);
  p.x_scale = p.w_scale = a.weight_scale.f32();
  return p;
}

// Whether the library multiplies e4m3 by e4m3 here. Sizes like those of tiny test models do not fit.
bool outer_vector_fits(const LinearArgs& a, Matmul& matmul) {
  const int64_t in = a.weight.size(1) + a.front_columns;
  const bool quantised = a.x.dtype() == DType::f8_e4m3;  // otherwise x goes through scratch memory, dense
  if (!matmul.outer_vector_fp8() || in % 16 != 0 || a.weight.size(1) % 16 != 0 || a.weight.stride(0) % 16 != 0 ||
      (quantised && !rows_at_16_bytes(a.x)))
    return false;
  if (!at_16_bytes(a.weight.raw()) || !at_16_bytes(a.weight_scale.raw())) return false;
  if (a.front_columns > 0 && !at_16_bytes(a.weight_down.raw())) return false;
  for (const LinearOutput& output : a.outputs) {
    if (!output.y.defined() || output.y.size(2) == 0) continue;
    if (output.y.size(2) % 16 != 0 || !rows_at_16_bytes(output.y)) return false;
    if (!matmul.supports(outer_product(a, output))) return false;
  }
  return true;
}

}  // namespace

bool adds_bias(const LinearArgs& a, const LinearOutput& output, Matmul& matmul) {
  Product p = outer_product(a, output);
  p.bias = a.weight.raw();
  if (!matmul.supports(p)) return false;
  p.m = a.x.size(1);  // entries may go one by one
  return matmul.supports(p);
}

LinearKind linear_kind(const LinearArgs& a, Matmul& matmul) {
  if (a.weight.dtype() == DType::f32) return LinearKind::f32;
  if (a.weight.dtype() == DType::bf16) return LinearKind::bf16;
  return !a.weight_only && outer_vector_fits(a, matmul) ? LinearKind::outer_vector : LinearKind::widened;
}

Product front_product(const Tensor& x, const Tensor& weight_down, const Tensor& y) {
  const Blocks blocks(x, y, false);
  return {.m = blocks.rows,
          .n = weight_down.size(0),
          .k = x.size(2),
          .x = x.raw(),
          .x_stride = blocks.x_row,
          .w = weight_down.raw(),
          .w_stride = x.size(2),
          .y = y.raw(),
          .y_stride = blocks.y_row,
          .batches = blocks.batches,
          .x_batch = blocks.x_batch,
          .y_batch = blocks.y_batch,
          .alpha = kFoldAlpha,
          .type = DType::f8_e4m3,
          .y_type = y.dtype()};
}

}  // namespace fx::cuda
