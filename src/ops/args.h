// One plain struct per operation. Every Tensor is a view owned by the caller; outputs are written in place.
//
// Letters in shape comments: B batch, L tokens, C channels, N heads, D head size, R rank capacity of a LoRA slot,
// S steps. Activations have a dense last axis; all other axes may be strided.
//
// Types. Where nothing else is said, the tensors of one operation are all f32, or all bf16 on a back-end that computes
// in it (Ops::computes_in); sums are f32 or better. Tables with one row per step, rope tables and LoRA scales are always
// f32. A tensor of e4m3 comes with its scales: value = e4m3 * scale, one scale for each row: the least power of two that
// brings the largest magnitude of the row to 448 or below (a row of zeros has scale 1).
#pragma once

#include <array>
#include <cstdint>

#include "core/tensor.h"
#include "ops/lora_args.h"

namespace fx {

enum class Activation { none, silu, gelu_tanh, gelu_erf, quick_gelu };

// A row of a table with one row per denoising step. The step lives in device memory, so that a recorded sequence of
// operations reads the row of the step at which it runs, not of the step at which it was recorded.
struct StepVector {
  Tensor table;  // (S, B, C) f32
  Tensor step;   // (1) i32
  bool defined() const { return table.defined(); }
};

struct LinearOutput {
  Tensor y;  // (B, L, n)
  Activation activation = Activation::none;
};

// y = activation(x weight^T + bias + LoRA). The rows of the weight go to the outputs in order: one output of `out`
// columns, or two whose columns add up to `out` (a fused projection that feeds two places).
// With `add`, y += gate * (...) instead, where an undefined gate means 1.
//
// Types: x is f32, bf16, or e4m3 with x_scale. It is rounded to the weight's type: to bf16, or row by row to e4m3, but
// for a weight of e4m3 with `weight_only`, which is itself widened to bf16. y is f32 or bf16.
//
// Fronts. Before each row of a weight of e4m3 there may be E more columns, in which fold_loras lays an adapter, and then
// before each row of x, where x is e4m3 already. The last `front_columns` of them take part: the layer writes
// kFoldAlpha * x8 weight_down^T of as many last rows in e4m3 into those of x (x8: x without its scales), and takes both into
// its product. So the adapter costs a few more columns of two products, and no pass over y. in, out and front_columns are
// then multiples of kFrontStep, and the device multiplies in e4m3. Memory is asked for as for all E: a step that is recorded
// needs none.
//
// Means. Each row of an entry of x stands for itself plus x_mean in its first m channels: what is the same in all rows
// goes through weight and adapter once, into the bias, and is never rounded to e4m3.
struct LinearArgs {
  Tensor x;                  // (B, L, in)
  Tensor x_scale;            // (B, L) f32, with x of e4m3
  Tensor x_mean = {};        // (B, m), m <= in, f32 with a weight of f32, else bf16; optional
  Tensor x_front = {};       // (B, L, E), right before x: with x of e4m3 and a front of the weight
  Tensor weight;             // (out, in) f32, bf16 or e4m3
  Tensor weight_scale;       // (out) f32, with a weight of e4m3
  Tensor weight_front = {};  // (out, E), right before the weight; optional
  Tensor weight_down = {};   // (E, in) e4m3, with a front
  int64_t front_columns = 0;
  bool weight_only = false;
  Tensor bias;  // (out) f32 or bf16, optional
  LoraOperand lora;
  std::array<LinearOutput, 2> outputs;
  bool add = false;
  StepVector gate;  // (S, B, out), optional
};

// y = x, row by row in e4m3.
struct QuantizeRowsArgs {
  Tensor x;                // (rows, C) f32 or bf16, contiguous
  Tensor y;                // (rows, C) e4m3
  Tensor scale;            // (rows) f32
  float largest = 448.0f;  // bound of the magnitudes of a row: less leaves room for a front
};

// y = (x - mean) / sqrt(variance + eps) * (1 + scale) + shift, over C: the modulated norm of a DiT block.
struct LnModulateArgs {
  Tensor x;  // (B, L, C)
  StepVector shift;
  StepVector scale;
  Tensor y;        // (B, L, C), or e4m3
  Tensor y_scale;  // (B, L) f32, with y of e4m3
  float eps = 1e-6f;
};

// y = (x - mean) / sqrt(variance + eps) * gain + bias, over C.
struct LayerNormArgs {
  Tensor x;     // (B, L, C)
  Tensor gain;  // (C)
  Tensor bias;  // (C)
  Tensor y;     // (B, L, C)
  float eps = 1e-5f;
};

// y = x / sqrt(mean(x^2) + eps) * gain, over C.
struct RmsNormArgs {
  Tensor x;     // (B, L, C)
  Tensor gain;  // (C)
  Tensor y;     // (B, L, C)
  float eps = 1e-6f;
};

// For q and k alike: RMS norm over D with a gain, then rotation of the pairs (2i, 2i+1) by the position. In place, or to
// q_out and k_out in e4m3 without a scale: normed values lie well within its range.
struct QkNormRopeArgs {
  Tensor q, k;            // (B, L, N, D)
  Tensor q_out, k_out;    // (B, L, N, D) e4m3, optional
  Tensor q_gain, k_gain;  // (D)
  Tensor pe;              // (L, D/2, 2): cosine and sine
  float eps = 1e-6f;
};

// o = softmax(scale * q k^T + bias) v for each head. With `e4m3`, which needs bf16 and neither bias nor mask, queries,
// keys, values and weights are rounded to e4m3 on the way, where the device has matrix units for it; q and k may be e4m3
// already (see QkNormRopeArgs).
// With `o_mean`, which goes with `e4m3`, the result is o + o_mean: what all queries have in common (the mean of the values)
// may be left to whoever reads o, see LinearArgs::x_mean. Back-ends that leave nothing write zeros.
struct AttentionArgs {
  Tensor q;            // (B, Lq, N, D)
  Tensor k, v;         // (B, Lk, N, D)
  Tensor o;            // (B, Lq, N, D); may not overlap the inputs
  Tensor o_mean = {};  // (B, N, D), of o's type; optional
  Tensor bias;         // (N, Lq, Lk), optional
  bool causal = false;
  bool e4m3 = false;
  float scale = 1.0f;
};

// y = activation(x), elementwise; x and y may be the same.
struct ActivateArgs {
  Tensor x, y;  // (B, L, C)
  Activation activation = Activation::none;
};

// y = a + b or y = a * b, elementwise; y may be one of them. A first axis of size 1 in b is repeated.
struct BinaryArgs {
  Tensor a, b, y;  // (B, L, C)
};

// y[i] = table[ids[i]]; with `add`, y[i] += table[ids[i]]. Ids outside the table are an internal error.
struct EmbedRowsArgs {
  Tensor ids;    // (B, L) i32
  Tensor table;  // (V, C)
  Tensor y;      // (B, L, C)
  bool add = false;
};

// y[i] = [cos(t_i f), sin(t_i f)] with f_j = 10000^(-j / half): sinusoidal embedding, cosine first.
struct TimestepEmbeddingArgs {
  Tensor t;  // (n) f32
  Tensor y;  // (1, n, dim), dim even
};

// y = x with equal shapes of any rank and strides (the last axis may be strided too). Types may differ among f32, bf16
// and f16.
struct CopyArgs {
  Tensor x, y;
};

// 2-D convolution, channels last. `add` accumulates into y (residual connections).
struct Conv2dArgs {
  Tensor x;       // (B, H, W, I)
  Tensor weight;  // (O, kh, kw, I)
  Tensor bias;    // (O), optional
  Tensor y;       // (B, H', W', O)
  int stride = 1;
  int pad_begin = 1;  // zeros above and to the left
  int pad_end = 1;    // zeros below and to the right
  bool add = false;
};

// Group norm over (H, W, C / groups), channels last, then SiLU if asked. y may be x.
struct GroupNormArgs {
  Tensor x;     // (B, H, W, C)
  Tensor gain;  // (C)
  Tensor bias;  // (C)
  Tensor y;     // (B, H, W, C)
  int groups = 32;
  float eps = 1e-6f;
  bool silu = false;
};

// y[2i, 2j] = y[2i, 2j+1] = y[2i+1, 2j] = y[2i+1, 2j+1] = x[i, j].
struct Upsample2xArgs {
  Tensor x;  // (B, H, W, C)
  Tensor y;  // (B, 2H, 2W, C)
};

// Between packed tokens, whose 4C channels are (C, 2, 2), and channels-last latents:
// unpack: latents = packed / scaling + shift; pack: packed = (latents - shift) * scaling.
struct LatentLayoutArgs {
  Tensor packed;   // (B, h/2 * w/2, 4C) f32
  Tensor latents;  // (B, h, w, C) f32 or bf16
  float scaling = 1.0f;
  float shift = 0.0f;
};

// y = round(255 * clamp(x / 2 + 1/2, 0, 1)), ties to even.
struct ToRgb8Args {
  Tensor x;  // (B, H, W, 3), nominally in [-1, 1]
  Tensor y;  // (B, H, W, 3) u8
};

// sample += (sigmas[step + 1] - sigmas[step]) * velocity. A sample that is not finite afterwards is an error that names
// the step; a back-end may find it late, when it is synchronised.
struct EulerStepArgs {
  Tensor sample;    // (B, L, C) f32
  Tensor velocity;  // (B, L, C) f32 or bf16
  Tensor sigmas;    // (S + 1) f32
  Tensor step;      // (1) i32
};

// step += 1. The last operation of a step.
struct AdvanceStepArgs {
  Tensor step;  // (1) i32
};

}  // namespace fx
