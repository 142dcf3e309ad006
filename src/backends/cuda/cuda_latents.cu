// Latents, pixels and the sampling step. Packed latents and samples are f32; what networks read and write may be bf16.
#include "backends/cuda/cuda_error.h"
#include "backends/cuda/cuda_ops.h"
#include "backends/cuda/device_view.cuh"

namespace fx::cuda {
namespace {

template <class T>
struct LatentLayout {
  float* packed;
  T* latents;
  int64_t height, width, channels;
  float scaling, shift;

  explicit LatentLayout(const LatentLayoutArgs& a)
      : packed(a.packed.f32()),
        latents(a.latents.data<T>()),
        height(a.latents.size(1)),
        width(a.latents.size(2)),
        channels(a.latents.size(3)),
        scaling(a.scaling),
        shift(a.shift) {}
  // Where element `i` of the latents lies in the tokens: token (y/2, x/2), channel (c, y%2, x%2).
  __device__ float& packed_of(int64_t i) const {
    const int64_t c = i % channels, x = i / channels % width, y = i / channels / width % height;
    const int64_t batch = i / channels / width / height;
    const int64_t token = (batch * (height / 2) + y / 2) * (width / 2) + x / 2;
    return packed[token * 4 * channels + c * 4 + y % 2 * 2 + x % 2];
  }
};

template <class T>
__global__ void unpack_kernel(LatentLayout<T> layout, int64_t count) {
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    layout.latents[i] = from_float<T>(layout.packed_of(i) / layout.scaling + layout.shift);
  }
}

template <class T>
__global__ void pack_kernel(LatentLayout<T> layout, int64_t count) {
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    layout.packed_of(i) = (to_float(layout.latents[i]) - layout.shift) * layout.scaling;
  }
}

// In f32 by definition, rounded at each operation, so that every back-end gives the same bytes. NaN becomes 0.
template <class T>
__global__ void to_rgb8_kernel(const T* x, uint8_t* y, int64_t count) {
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    const float value = __fadd_rn(__fmul_rn(to_float(x[i]), 0.5f), 0.5f);
    const float clamped = value > 0.0f ? (value < 1.0f ? value : 1.0f) : 0.0f;
    y[i] = static_cast<uint8_t>(rintf(__fmul_rn(255.0f, clamped)));
  }
}

template <class T>
__global__ void euler_step_kernel(Rows sample, RowsOf<T> velocity, const float* sigmas, int64_t sigma_stride,
                                  int32_t steps, const int32_t* step, int64_t channels, int64_t count,
                                  DeviceFault* fault) {
  const int32_t now = *step;
  if (now < 0 || now >= steps) {
    if (threadIdx.x == 0) note_fault(fault, FaultKind::step_of_schedule, now, steps);
    return;
  }
  const float change = sigmas[(now + 1) * sigma_stride] - sigmas[now * sigma_stride];
  bool finite = true;
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    const int64_t row = i / channels, c = i % channels;
    const float value = sample[row][c] + change * to_float(velocity[row][c]);
    sample[row][c] = value;
    finite = finite && isfinite(value);
  }
  // One note for each block: the fault lies in host memory, where millions of them would take long.
  if (__syncthreads_or(!finite) && threadIdx.x == 0) note_fault(fault, FaultKind::not_finite, now + 1, steps);
}

__global__ void advance_step_kernel(int32_t* step) { ++*step; }

}  // namespace

void CudaOps::do_unpack_latents(const LatentLayoutArgs& a) {
  const int64_t count = a.latents.count();
  if (count == 0) return;
  dispatch(a.latents.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    unpack_kernel<<<blocks_for(count), kThreads, 0, stream()>>>(LatentLayout<T>(a), count);
  });
  check_launch("unpack_latents");
}

void CudaOps::do_pack_latents(const LatentLayoutArgs& a) {
  const int64_t count = a.latents.count();
  if (count == 0) return;
  dispatch(a.latents.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    pack_kernel<<<blocks_for(count), kThreads, 0, stream()>>>(LatentLayout<T>(a), count);
  });
  check_launch("pack_latents");
}

void CudaOps::do_to_rgb8(const ToRgb8Args& a) {
  const int64_t count = a.x.count();
  if (count == 0) return;
  dispatch(a.x.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    to_rgb8_kernel<<<blocks_for(count), kThreads, 0, stream()>>>(a.x.data<const T>(), a.y.data<uint8_t>(), count);
  });
  check_launch("to_rgb8");
}

void CudaOps::do_euler_step(const EulerStepArgs& a) {
  const int64_t count = a.sample.count();
  if (count == 0) return;
  const auto steps = static_cast<int32_t>(a.sigmas.size(0) - 1);
  dispatch(a.velocity.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    euler_step_kernel<<<blocks_for(count), kThreads, 0, stream()>>>(Rows(a.sample), RowsOf<T>(a.velocity),
                                                                    a.sigmas.f32(), a.sigmas.stride(0), steps,
                                                                    a.step.i32(), a.sample.size(2), count, fault());
  });
  check_launch("euler_step");
}

void CudaOps::do_advance_step(const AdvanceStepArgs& a) {
  advance_step_kernel<<<1, 1, 0, stream()>>>(a.step.i32());
  check_launch("advance_step");
}

}  // namespace fx::cuda
