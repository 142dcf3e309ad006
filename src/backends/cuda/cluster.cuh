// Clusters, blocks that read each other's shared memory, where the code is for sm_90 or newer. They lie along x and are as wide
// as the grid; kernels for older hardware are launched without.
#pragma once

#include <cooperative_groups.h>

#include "backends/cuda/cuda_error.h"

namespace fx::cuda {

__device__ inline void arrive_at_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
#endif
}
__device__ inline void wait_for_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
#endif
}
// Another block's copy of a shared variable.
template <class T>
__device__ const T* shared_of(const T* shared, [[maybe_unused]] unsigned block) {
#if __CUDA_ARCH__ >= 900
  return cooperative_groups::this_cluster().map_shared_rank(const_cast<T*>(shared), block);
#else
  return shared;
#endif
}

// Lets a kernel have this much dynamic shared memory. Returns whether it can be launched in clusters.
template <class Kernel>
bool prepare_kernel(Kernel* kernel, int shared_bytes) {
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes),
             "asking for shared memory");
  cudaFuncAttributes code{};
  check_cuda(cudaFuncGetAttributes(&code, kernel), "asking for a kernel's attributes");
  int device = 0, clusters = 0;
  check_cuda(cudaGetDevice(&device), "asking for the device");
  check_cuda(cudaDeviceGetAttribute(&clusters, cudaDevAttrClusterLaunch, device), "asking for clusters");
  constexpr int kFirst = 90;  // what __CUDA_ARCH__ was compared with, without its zero
  return clusters != 0 && code.binaryVersion >= kFirst && (code.ptxVersion == 0 || code.ptxVersion >= kFirst);
}

// With the blocks of a row of the grid as one cluster, if there are several.
template <class... Parameters, class... Arguments>
void launch_clusters(void (*kernel)(Parameters...), dim3 grid, int threads, int shared_bytes, cudaStream_t stream,
                     const char* what, Arguments... arguments) {
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = grid.x;
  cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = grid.x > 1 ? 1 : 0;
  check_cuda(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...), what);
}

}  // namespace fx::cuda
