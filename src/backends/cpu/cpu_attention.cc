// Attention in blocks of queries and keys with a running softmax, so that scores never leave the second-level cache.
#include <algorithm>
#include <limits>

#include "backends/cpu/cpu_ops.h"

namespace fx {
namespace {

constexpr int kQueryBlock = 48;  // four tiles
constexpr int kKeyBlock = 512;
constexpr int kScoreStride = kKeyBlock + 16;  // not a multiple of 4 KiB: the rows of a tile must not share a cache set

// What a thread keeps between its query blocks: the packed keys and values of one head, and its working rows.
struct HeadScratch {
  float* keys;    // panels of tile_columns keys: (panels, D, tile_columns)
  float* values;  // panels of tile_columns channels: (panels, Lk, tile_columns)
  float* scores;  // (kQueryBlock, kScoreStride)
  float* sums;    // (kQueryBlock, padded D)

  static int64_t padded(const Kernels& k, int64_t n) {
    return (n + k.tile_columns - 1) / k.tile_columns * k.tile_columns;
  }
  static int64_t floats(const Kernels& k, const AttentionArgs& a) {
    const int64_t keys = a.k.size(1), head_size = a.q.size(3);
    return padded(k, keys) * head_size + padded(k, head_size) * keys + kQueryBlock * kScoreStride +
           kQueryBlock * padded(k, head_size);
  }
  HeadScratch(const Kernels& k, const AttentionArgs& a, float* memory) : keys(memory) {
    values = keys + padded(k, a.k.size(1)) * a.q.size(3);
    scores = values + padded(k, a.q.size(3)) * a.k.size(1);
    sums = scores + kQueryBlock * kScoreStride;
  }
};

const float* row(const Tensor& t, int64_t b, int64_t l, int64_t n) {
  return t.f32() + b * t.stride(0) + l * t.stride(1) + n * t.stride(2);
}

void pack_head(const Kernels& kernels, const AttentionArgs& a, int64_t b, int64_t n, const HeadScratch& scratch) {
  const int width = kernels.tile_columns;
  const int64_t keys = a.k.size(1), head_size = a.q.size(3);
  for (int64_t j = 0; j < keys; j += width) {
    const int count = static_cast<int>(std::min<int64_t>(width, keys - j));
    kernels.pack_transposed(row(a.k, b, j, n), a.k.stride(1), count, head_size, scratch.keys + j * head_size);
  }
  for (int64_t d = 0; d < head_size; d += width) {
    const int count = static_cast<int>(std::min<int64_t>(width, head_size - d));
    kernels.pack_columns(row(a.v, b, 0, n) + d, a.v.stride(1), count, keys, scratch.values + d * keys);
  }
}

// The queries [first, first + count) of one head.
struct QueryBlock {
  const Kernels& kernels;
  const AttentionArgs& a;
  const HeadScratch& scratch;
  int64_t batch, head, first;
  int count;
  float largest[kQueryBlock], sum[kQueryBlock];

  // scores = q k^T for keys [begin, begin + block)
  void score(int64_t begin, int64_t block) {
    const int64_t head_size = a.q.size(3);
    const float* q[kQueryBlock];
    for (int i = 0; i < count; ++i) q[i] = row(a.q, batch, first + i, head);
    for (int64_t j = 0; j < block; j += kernels.tile_columns) {
      for (int i = 0; i < count; i += kernels.tile_rows) {
        kernels.multiply({q + i, std::min(kernels.tile_rows, count - i), 1, head_size},
                         scratch.keys + (begin + j) * head_size, scratch.scores + i * kScoreStride + j, kScoreStride,
                         false);
      }
    }
  }

  // Turns scores into weights; sums shrink where a larger score came.
  void soften(int64_t begin, int64_t block) {
    const int64_t width = HeadScratch::padded(kernels, a.q.size(3));
    const int64_t padded = HeadScratch::padded(kernels, block);
    for (int i = 0; i < count; ++i) {
      const int64_t visible = a.causal ? std::clamp<int64_t>(first + i + 1 - begin, 0, block) : block;
      const float* bias =
          a.bias.defined() ? a.bias.f32() + head * a.bias.stride(0) + (first + i) * a.bias.stride(1) + begin : nullptr;
      const float shrink = kernels.softmax_block({.scores = scratch.scores + i * kScoreStride,
                                                  .bias = bias,
                                                  .valid = visible,
                                                  .padded = padded,
                                                  .scale = a.scale,
                                                  .largest = &largest[i],
                                                  .sum = &sum[i]});
      float* sums = scratch.sums + i * width;
      if (begin > 0 && shrink != 1.0f) kernels.scale(sums, shrink, sums, width);
    }
  }

  // sums += weights v
  void gather(int64_t begin, int64_t block) {
    const int64_t keys = a.k.size(1), width = HeadScratch::padded(kernels, a.q.size(3));
    const float* weights[kQueryBlock];
    for (int i = 0; i < count; ++i) weights[i] = scratch.scores + i * kScoreStride;
    for (int64_t d = 0; d < width; d += kernels.tile_columns) {
      const float* panel = scratch.values + d * keys + begin * kernels.tile_columns;
      for (int i = 0; i < count; i += kernels.tile_rows) {
        kernels.multiply({weights + i, std::min(kernels.tile_rows, count - i), 1, block}, panel,
                         scratch.sums + i * width + d, width, begin > 0);
      }
    }
  }

  void run() {
    std::fill_n(largest, count, -std::numeric_limits<float>::infinity());
    std::fill_n(sum, count, 0.0f);
    const int64_t keys = a.causal ? std::min(a.k.size(1), first + count) : a.k.size(1);
    for (int64_t begin = 0; begin < keys; begin += kKeyBlock) {
      const int64_t block = std::min<int64_t>(kKeyBlock, keys - begin);
      score(begin, block);
      soften(begin, block);
      gather(begin, block);
    }
    const int64_t head_size = a.q.size(3), width = HeadScratch::padded(kernels, head_size);
    for (int i = 0; i < count; ++i) {
      float* o = a.o.f32() + batch * a.o.stride(0) + (first + i) * a.o.stride(1) + head * a.o.stride(2);
      kernels.scale(scratch.sums + i * width, 1.0f / sum[i], o, head_size);
    }
  }
};

}  // namespace

void CpuOps::do_attention(const AttentionArgs& args) {
  const int64_t queries = args.q.size(1), heads = args.q.size(2);
  const int64_t blocks = (queries + kQueryBlock - 1) / kQueryBlock;
  const int64_t per_thread = (HeadScratch::floats(kernels_, args) + 15) / 16 * 16;
  float* memory = scratch(threads_.threads() * per_thread);
  // Consecutive blocks of one head go to one thread, which packs that head's keys and values once.
  threads_.ranges(args.q.size(0) * heads * blocks, 1, [&](int64_t begin, int64_t end, int thread) {
    const HeadScratch head_scratch(kernels_, args, memory + thread * per_thread);
    int64_t packed = -1;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t head = task / blocks, first = task % blocks * kQueryBlock;  // `head` counts through the batch
      if (head != packed) pack_head(kernels_, args, head / heads, head % heads, head_scratch);
      packed = head;
      QueryBlock block{kernels_,
                       args,
                       head_scratch,
                       head / heads,
                       head % heads,
                       first,
                       static_cast<int>(std::min<int64_t>(kQueryBlock, queries - first)),
                       {},
                       {}};
      block.run();
    }
  });
}

}  // namespace fx
