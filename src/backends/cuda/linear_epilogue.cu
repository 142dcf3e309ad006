#include "backends/cuda/linear_epilogue.h"

#include "backends/cuda/cuda_error.h"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"

namespace fx::cuda {
namespace {

constexpr int kPack = 8;  // neighbours that a thread takes at a time where width and addresses allow it
constexpr int kColumnThreads = 128;

struct Columns {
  int64_t count, first_row, bias_batch;
  const void* bias;
  bool bias_is_bf16;
  Activation activation;
  bool add;
  StepRows gate;

  template <int n>
  __device__ void add_bias(int64_t batch, int64_t c, float (&v)[n]) const {
    if (!bias) return;
    c += batch * bias_batch;
    float b[n];
    if (bias_is_bf16) load(static_cast<const bf16*>(bias) + c, b);
    else load(static_cast<const float*>(bias) + c, b);
#pragma unroll
    for (int i = 0; i < n; ++i) v[i] += b[i];
  }
};

// Grid: (rows, groups of columns).
template <class P, class Y, int n>
__global__ void epilogue_kernel(RowsOf<P> product, RowsOf<Y> y, Columns e, DeviceFault* fault) {
  const int64_t row = blockIdx.x, c = (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * n;
  if (c >= e.count) return;
  float v[n];
  load(product[row] + c, v);
  e.add_bias(row / y.per_batch, c, v);
#pragma unroll
  for (int i = 0; i < n; ++i) v[i] = activate(e.activation, v[i]);
  if (e.gate.table) {
    float gate[n];
    load(e.gate.row(row / y.per_batch, fault) + e.first_row + c, gate);
#pragma unroll
    for (int i = 0; i < n; ++i) v[i] *= gate[i];
  }
  Y* to = y[row] + c;
  if (e.add) {
    float before[n];
    load(to, before);
#pragma unroll
    for (int i = 0; i < n; ++i) v[i] = before[i] + v[i];
  }
  store(to, v);
}

template <class P, class Y, int n>
void launch(const LinearEpilogue& e, DeviceFault* fault, cudaStream_t stream) {
  Columns columns{.count = e.y.size(2), .first_row = e.first_row, .bias_batch = e.bias_batch, .bias = e.bias};
  columns.bias_is_bf16 = e.bias_type == DType::bf16;
  columns.activation = e.activation;
  columns.add = e.add;
  if (e.gate.defined()) columns.gate = StepRows(e.gate);
  const dim3 grid(static_cast<unsigned>(e.y.size(0) * e.y.size(1)),
                  static_cast<unsigned>(ceil_div(columns.count, int64_t{kColumnThreads} * n)));
  epilogue_kernel<P, Y, n><<<grid, kColumnThreads, 0, stream>>>(RowsOf<P>(e.product), RowsOf<Y>(e.y), columns, fault);
}

bool fits(const LinearEpilogue& e) {
  const bool bias = reinterpret_cast<uintptr_t>(e.bias) % 16 == 0 && e.bias_batch % kPack == 0;
  const bool gate = !e.gate.defined() || (fits_vectors(kPack, e.gate.table) && e.first_row % kPack == 0);
  return fit_vectors(kPack, e.product, e.y) && bias && gate;
}

}  // namespace

void linear_epilogue(const LinearEpilogue& e, DeviceFault* fault, cudaStream_t stream) {
  if (e.y.count() == 0) return;
  dispatch<kPack>(e.y.dtype(), fits(e), [&](auto type, auto width) {
    using Y = typename decltype(type)::type;
    if (e.product.dtype() == e.y.dtype()) launch<Y, Y, decltype(width)::value>(e, fault, stream);
    else launch<float, Y, decltype(width)::value>(e, fault, stream);
  });
  check_launch("linear: epilogue");
}

}  // namespace fx::cuda
