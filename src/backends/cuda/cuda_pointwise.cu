// Elementwise operations, copies and look-ups.
#include "backends/cuda/cuda_error.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/device_math.cuh"
#include "backends/cuda/device_view.cuh"

namespace fx::cuda {
namespace {

__global__ void activate_kernel(Rows x, Rows y, int64_t channels, int64_t count, Activation activation) {
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    const int64_t row = i / channels, c = i % channels;
    y[row][c] = activate(activation, x[row][c]);
  }
}

struct Plus {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Times {
  __device__ float operator()(float a, float b) const { return a * b; }
};

template <class Function>
__global__ void binary_kernel(Rows a, Rows b, Rows y, int64_t channels, int64_t count, Function f) {
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    const int64_t row = i / channels, c = i % channels;
    y[row][c] = f(a[row][c], b[row][c]);
  }
}

template <class Function>
void binary(const BinaryArgs& args, Function f, cudaStream_t stream) {
  const int64_t count = args.y.count();
  if (count == 0) return;
  Rows b(args.b);
  if (args.b.size(0) == 1) b.batch_stride = 0;  // repeated
  binary_kernel<<<blocks_for(count), kThreads, 0, stream>>>(Rows(args.a), b, Rows(args.y), args.y.size(2), count, f);
}

// x and y of any strides, in elements.
struct StridedCopy {
  int rank;
  int64_t sizes[kMaxRank], x_strides[kMaxRank], y_strides[kMaxRank];

  explicit StridedCopy(const CopyArgs& args) : rank(args.x.rank()) {
    for (int axis = 0; axis < rank; ++axis) {
      sizes[axis] = args.x.size(axis);
      x_strides[axis] = args.x.stride(axis);
      y_strides[axis] = args.y.stride(axis);
    }
  }
};

template <class Item>
__global__ void copy_kernel(StridedCopy c, const Item* x, Item* y, int64_t count) {
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    int64_t rest = i, from = 0, to = 0;
    for (int axis = c.rank - 1; axis >= 0; --axis) {
      const int64_t at = rest % c.sizes[axis];
      rest /= c.sizes[axis];
      from += at * c.x_strides[axis];
      to += at * c.y_strides[axis];
    }
    y[to] = x[from];
  }
}

template <class Item>
void copy_strided(const CopyArgs& args, cudaStream_t stream) {
  const int64_t count = args.x.count();
  copy_kernel<<<blocks_for(count), kThreads, 0, stream>>>(StridedCopy(args), args.x.data<Item>(), args.y.data<Item>(),
                                                          count);
}

// One block per id.
__global__ void embed_rows_kernel(const int32_t* ids, const float* table, int32_t table_rows, Rows y, int64_t channels,
                                  bool add, DeviceFault* fault) {
  const int32_t id = ids[blockIdx.x];
  if (id < 0 || id >= table_rows) {
    if (threadIdx.x == 0) note_fault(fault, FaultKind::id_of_table, id, table_rows);
    return;
  }
  const float* row = table + id * channels;
  float* out = y[blockIdx.x];
  for (int64_t c = threadIdx.x; c < channels; c += blockDim.x) out[c] = add ? out[c] + row[c] : row[c];
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
  const cudaError_t status = cudaFuncGetAttributes(&attributes, activate_kernel);
  if (status != cudaSuccess) cudaGetLastError();
  return status;
}

void CudaOps::do_activate(const ActivateArgs& a) {
  const int64_t count = a.x.count();
  if (count == 0) return;
  activate_kernel<<<blocks_for(count), kThreads, 0, stream()>>>(Rows(a.x), Rows(a.y), a.x.size(2), count, a.activation);
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

void CudaOps::do_copy(const CopyArgs& a) {
  if (a.x.count() == 0) return;
  if (a.x.contiguous() && a.y.contiguous()) {
    runtime_.copy(a.y.raw(), a.x.raw(), static_cast<size_t>(a.x.bytes()), CopyKind::device_to_device);
    return;
  }
  switch (size_of(a.x.dtype())) {
    case 1: copy_strided<uint8_t>(a, stream()); break;
    case 2: copy_strided<uint16_t>(a, stream()); break;
    case 4: copy_strided<uint32_t>(a, stream()); break;
    default: copy_strided<uint64_t>(a, stream()); break;
  }
  check_launch("copy");
}

void CudaOps::do_embed_rows(const EmbedRowsArgs& a) {
  if (a.y.count() == 0) return;
  embed_rows_kernel<<<static_cast<unsigned>(a.ids.count()), kThreads, 0, stream()>>>(
      a.ids.i32(), a.table.f32(), static_cast<int32_t>(a.table.size(0)), Rows(a.y), a.table.size(1), a.add, fault());
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
