// Elementwise operations and look-ups.
#include "backends/cuda/cuda_error.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"

namespace fx::cuda {
namespace {

constexpr int kVector = 8;

// `count` groups of n neighbours, `groups` of them in a row.
template <class T, int n>
__global__ void activate_kernel(RowsOf<T> x, RowsOf<T> y, int64_t groups, int64_t count, Activation activation) {
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    const int64_t row = i / groups, c = i % groups * n;
    float v[n];
    load(x[row] + c, v);
#pragma unroll
    for (int j = 0; j < n; ++j) v[j] = activate(activation, v[j]);
    store(y[row] + c, v);
  }
}

struct Plus {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Times {
  __device__ float operator()(float a, float b) const { return a * b; }
};

template <class T, int n, class Function>
__global__ void binary_kernel(RowsOf<T> a, RowsOf<T> b, RowsOf<T> y, int64_t groups, int64_t count, Function f) {
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    const int64_t row = i / groups, c = i % groups * n;
    float left[n], right[n];
    load(a[row] + c, left);
    load(b[row] + c, right);
#pragma unroll
    for (int j = 0; j < n; ++j) left[j] = f(left[j], right[j]);
    store(y[row] + c, left);
  }
}

template <class Function>
void binary(const BinaryArgs& args, Function f, cudaStream_t stream) {
  if (args.y.count() == 0) return;
  dispatch<kVector>(args.y.dtype(), fit_vectors(kVector, args.a, args.b, args.y), [&](auto type, auto width) {
    using T = typename decltype(type)::type;
    constexpr int n = decltype(width)::value;
    const int64_t count = args.y.count() / n;
    RowsOf<T> b(args.b);
    if (args.b.size(0) == 1) b.batch_stride = 0;  // repeated
    binary_kernel<T, n><<<blocks_for(count), kThreads, 0, stream>>>(RowsOf<T>(args.a), b, RowsOf<T>(args.y),
                                                                    args.y.size(2) / n, count, f);
  });
}

// One block per id.
template <class T, int n>
__global__ void embed_rows_kernel(const int32_t* ids, const T* table, int32_t table_rows, RowsOf<T> y, int64_t channels,
                                  bool add, DeviceFault* fault) {
  const int32_t id = ids[blockIdx.x];
  if (id < 0 || id >= table_rows) {
    if (threadIdx.x == 0) note_fault(fault, FaultKind::id_of_table, id, table_rows);
    return;
  }
  const T* row = table + id * channels;
  T* out = y[blockIdx.x];
  for (int64_t c = threadIdx.x * n; c < channels; c += blockDim.x * n) {
    float v[n];
    load(row + c, v);
    if (add) {
      float old[n];
      load(out + c, old);
#pragma unroll
      for (int j = 0; j < n; ++j) v[j] = old[j] + v[j];
    }
    store(out + c, v);
  }
}

// Frequency and angle are f32 by definition, each rounded once; the rest is exact to f32, hence double.
__global__ void timestep_embedding_kernel(const float* t, int64_t t_stride, float* y, int64_t half, int64_t count,
                                          float log_period) {
  for (int64_t index = first_element(); index < count; index += element_stride()) {
    const int64_t i = index / half, j = index % half;
    const float exponent = __fdiv_rn(__fmul_rn(log_period, static_cast<float>(j)), static_cast<float>(half));
    const auto frequency = static_cast<float>(exp(static_cast<double>(exponent)));
    const auto angle = static_cast<double>(__fmul_rn(t[i * t_stride], frequency));
    y[i * 2 * half + j] = static_cast<float>(cos(angle));
    y[i * 2 * half + half + j] = static_cast<float>(sin(angle));
  }
}

}  // namespace

cudaError_t probe_kernels() {
  cudaFuncAttributes attributes{};
  const cudaError_t status = cudaFuncGetAttributes(&attributes, activate_kernel<float, 1>);
  if (status != cudaSuccess) cudaGetLastError();
  return status;
}

void CudaOps::do_activate(const ActivateArgs& a) {
  if (a.x.count() == 0) return;
  dispatch<kVector>(a.x.dtype(), fit_vectors(kVector, a.x, a.y), [&](auto type, auto width) {
    using T = typename decltype(type)::type;
    constexpr int n = decltype(width)::value;
    const int64_t count = a.x.count() / n;
    activate_kernel<T, n><<<blocks_for(count), kThreads, 0, stream()>>>(RowsOf<T>(a.x), RowsOf<T>(a.y), a.x.size(2) / n,
                                                                        count, a.activation);
  });
  check_launch("activate");
}

void CudaOps::do_add(const BinaryArgs& a) {
  binary(a, Plus(), stream());
  check_launch("add");
}

void CudaOps::do_multiply(const BinaryArgs& a) {
  binary(a, Times(), stream());
  check_launch("multiply");
}

void CudaOps::do_embed_rows(const EmbedRowsArgs& a) {
  if (a.y.count() == 0) return;
  dispatch<kVector>(a.y.dtype(), fit_vectors(kVector, a.table, a.y), [&](auto type, auto width) {
    using T = typename decltype(type)::type;
    constexpr int n = decltype(width)::value;
    embed_rows_kernel<T, n><<<static_cast<unsigned>(a.ids.count()), kThreads, 0, stream()>>>(
        a.ids.i32(), a.table.data<T>(), static_cast<int32_t>(a.table.size(0)), RowsOf<T>(a.y), a.table.size(1), a.add,
        fault());
  });
  check_launch("embed_rows");
}

void CudaOps::do_timestep_embedding(const TimestepEmbeddingArgs& a) {
  const int64_t half = a.y.size(2) / 2, count = a.t.size(0) * half;
  if (count == 0) return;
  constexpr double kLogPeriod = -9.210340371976182736;  // -ln 10000
  timestep_embedding_kernel<<<blocks_for(count), kThreads, 0, stream()>>>(a.t.f32(), a.t.stride(0), a.y.f32(), half,
                                                                          count, static_cast<float>(kLogPeriod));
  check_launch("timestep_embedding");
}

}  // namespace fx::cuda
