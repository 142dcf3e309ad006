// One GPU as a Runtime: one stream and another of low priority beside it, stream-ordered memory from the driver's pool where
// it has one.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>

#include "backends/cuda/device_fault.h"
#include "backends/cuda/transfer.h"
#include "core/runtime.h"

namespace fx::cuda {

class CudaRuntime final : public Runtime {
 public:
  // Throws device "no CUDA device: REASON" with the driver's reason, and unsupported for a GPU before Ampere.
  CudaRuntime();
  ~CudaRuntime() override;
  CudaRuntime(const CudaRuntime&) = delete;
  CudaRuntime& operator=(const CudaRuntime&) = delete;

  std::string device_name() const override { return name_; }
  // Throws internal while a graph is being captured: the graph would own the memory.
  void* allocate(size_t bytes) override;
  void release(void* data, size_t bytes) noexcept override;
  void copy(void* target, const void* source, size_t bytes, CopyKind kind) override;
  void fill_zero(void* target, size_t bytes) override;
  // Also throws what kernels have found wrong since the last call.
  void synchronize() override;
  std::unique_ptr<Mark> mark() override;
  MemoryInfo memory() const override { return {current_.load(), peak_.load()}; }
  size_t available() const override;
  void fetch(void* target, const void* source, size_t bytes) override;
  std::unique_ptr<Staging> stage(size_t bytes) override;
  void beside(const std::function<void()>& work) override;
  bool records() const override { return true; }
  std::unique_ptr<Recording> record(const std::function<void()>& work) override;

  // Where this thread issues work: the stream of the engine, or in `beside`, the one beside it.
  cudaStream_t stream() const;
  DeviceFault* fault() const { return fault_; }
  // Of work that is done.
  bool has_fault() const { return noted(*fault_); }
  // Memory in the order of another stream, or of none; thread-safe. Throws out_of_memory.
  void* allocate_on(cudaStream_t stream, size_t bytes);
  void release_on(cudaStream_t stream, void* data, size_t bytes) noexcept;
  int compute_capability() const { return capability_; }  // 90 for sm_90

 private:
  void open_device();
  void open_pool();
  void count(int64_t bytes) noexcept;  // memory that comes or, below 0, goes

  std::string name_;
  int capability_ = 0;
  cudaStream_t stream_ = nullptr, beside_ = nullptr;
  cudaMemPool_t pool_ = nullptr;  // null where the driver has none (some virtual machines)
  DeviceFault* fault_ = nullptr;
  std::atomic<size_t> current_{0}, peak_{0};
  std::unique_ptr<TransferPool> transfers_;
};

}  // namespace fx::cuda
