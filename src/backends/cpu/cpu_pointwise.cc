// Elementwise operations, copies and look-ups: rows over the threads.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/rows.h"

namespace fx {
namespace {

int64_t row_grain(int64_t channels) { return kElementsPerThread / std::max<int64_t>(channels, 1); }

using BinaryKernel = void (*)(const float*, const float*, float*, int64_t);

void binary(ThreadPool& threads, const BinaryArgs& args, BinaryKernel kernel) {
  const Rows a(args.a), b(args.b), y(args.y);
  const int64_t rows = args.y.size(0) * args.y.size(1), channels = args.y.size(2);
  const bool repeat = args.b.size(0) == 1;
  threads.ranges(rows, row_grain(channels), [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) kernel(a[row], b[repeat ? row % a.per_batch : row], y[row], channels);
  });
}

template <class T>
void copy_lines(const CopyArgs& args, int64_t begin, int64_t end) {
  const int last = std::max(args.x.rank() - 1, 0);
  const int64_t length = args.x.size(last), x_stride = args.x.stride(last), y_stride = args.y.stride(last);
  for (int64_t line = begin; line < end; ++line) {
    int64_t x_at = 0, y_at = 0, rest = line;
    for (int axis = last - 1; axis >= 0; --axis) {
      const int64_t index = rest % args.x.size(axis);
      rest /= args.x.size(axis);
      x_at += index * args.x.stride(axis);
      y_at += index * args.y.stride(axis);
    }
    const T* x = args.x.data<T>() + x_at;
    T* y = args.y.data<T>() + y_at;
    if (x_stride == 1 && y_stride == 1) {
      std::copy_n(x, length, y);
    } else {
      for (int64_t i = 0; i < length; ++i) y[i * y_stride] = x[i * x_stride];
    }
  }
}

}  // namespace

void CpuOps::do_activate(const ActivateArgs& args) {
  const Rows x(args.x), y(args.y);
  const int64_t channels = args.x.size(2);
  threads_.ranges(args.x.size(0) * args.x.size(1), row_grain(channels), [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) kernels_.activate(args.activation, x[row], y[row], channels);
  });
}

void CpuOps::do_add(const BinaryArgs& args) { binary(threads_, args, kernels_.add); }
void CpuOps::do_multiply(const BinaryArgs& args) { binary(threads_, args, kernels_.multiply_elements); }

void CpuOps::do_copy(const CopyArgs& args) {
  if (args.x.count() == 0) return;
  const size_t item = size_of(args.x.dtype());
  if (args.x.rank() == 0) {
    std::memcpy(args.y.raw(), args.x.raw(), item);
    return;
  }
  const int64_t length = args.x.size(-1);
  threads_.ranges(args.x.count() / length, row_grain(length), [&](int64_t begin, int64_t end, int) {
    switch (item) {
      case 1: return copy_lines<uint8_t>(args, begin, end);
      case 2: return copy_lines<uint16_t>(args, begin, end);
      case 4: return copy_lines<uint32_t>(args, begin, end);
      default: return copy_lines<uint64_t>(args, begin, end);
    }
  });
}

void CpuOps::do_embed_rows(const EmbedRowsArgs& args) {
  const Rows y(args.y);
  const int64_t channels = args.y.size(2), rows = args.table.size(0);
  for (int64_t i = 0; i < args.ids.count(); ++i) {
    const int32_t id = args.ids.i32()[i];
    check(0 <= id && id < rows, ErrorCode::internal, "[embed_rows] id {} is outside of a table of {} rows", id, rows);
    const float* row = args.table.f32() + id * channels;
    if (args.add) {
      kernels_.add(y[i], row, y[i], channels);
    } else {
      std::copy_n(row, channels, y[i]);
    }
  }
}

// Runs once per image: plain functions, in the f32 steps of the definition.
void CpuOps::do_timestep_embedding(const TimestepEmbeddingArgs& args) {
  const int64_t width = args.y.size(2), half = width / 2;
  const auto log_period = static_cast<float>(-std::log(10000.0));
  for (int64_t j = 0; j < half; ++j) {
    const float exponent = log_period * static_cast<float>(j) / static_cast<float>(half);
    const auto frequency = static_cast<float>(std::exp(static_cast<double>(exponent)));
    for (int64_t i = 0; i < args.t.size(0); ++i) {
      const float angle = args.t.f32()[i * args.t.stride(0)] * frequency;
      args.y.f32()[i * width + j] = std::cos(angle);
      args.y.f32()[i * width + half + j] = std::sin(angle);
    }
  }
}

}  // namespace fx
