// The mean of values over their tokens, which attention in e4m3 takes from them and gives back with its result, or beside it
// (AttentionArgs::o_mean): weights of a softmax add up to 1, so in exact arithmetic nothing changes.
//
// In e4m3 much does. Tensor cores align products with the sum that they are added to and keep few bits:
// what is small beside the sum is cut off, always towards zero. Values of one sign add up to a sum that is large beside each
// of them: 4608 values with mean 1 and deviation 1 came out of cuDNN's kernel on an H200 5.7 % too small, layer after layer.
// What is left without the mean has both signs, and less to be rounded.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "core/tensor.h"

namespace fx::cuda {

// How many numbers `reach` takes for values of (B, L, N, D) with N * D `channels`.
int64_t reach_count(int64_t batch, int64_t channels);

// v (B, L, N, D) in bf16, heads side by side, N * D a multiple of 8, address and strides multiples of 16 bytes. Means are
// (B, N * D), rounded to bf16: what is taken away and given back is the same number. The largest of `reach` is the largest |v - mean|.
void find_means(const Tensor& v, __nv_bfloat16* means, float* reach, cudaStream_t stream);

}  // namespace fx::cuda
