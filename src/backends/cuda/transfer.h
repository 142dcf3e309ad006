// Transfers beside the work of the stream: pinned host memory that is kept, device memory that is not, and a copy stream.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "core/runtime.h"

namespace fx::cuda {

// Pinned memory is kept for the next transfer: to pin it takes longer than to send it.
class TransferPool {
 public:
  TransferPool() = default;
  ~TransferPool();
  TransferPool(const TransferPool&) = delete;
  TransferPool& operator=(const TransferPool&) = delete;

  struct Block {
    size_t bytes = 0;
    std::byte* host = nullptr;
  };
  // At least `bytes`. Throws out_of_memory.
  Block take(size_t bytes);
  void give_back(const Block& block);
  // Frees what nobody uses. With no work in flight on it.
  void trim();

  cudaStream_t stream();

 private:
  std::mutex mutex_;
  std::vector<Block> unused_;
  cudaStream_t stream_ = nullptr;
};

class CudaRuntime;

class DeviceStaging final : public Staging {
 public:
  DeviceStaging(TransferPool& pool, CudaRuntime& runtime, size_t bytes);
  ~DeviceStaging() override;
  DeviceStaging(const DeviceStaging&) = delete;

  std::byte* host() override { return block_.host; }
  size_t bytes() const override { return bytes_; }
  void send(size_t bytes) override;
  const std::byte* arrive() override;
  void wait() override;

 private:
  void close() noexcept;

  TransferPool& pool_;
  CudaRuntime& runtime_;
  TransferPool::Block block_;
  size_t bytes_;
  std::byte* device_ = nullptr;
  cudaEvent_t arrived_ = nullptr, used_ = nullptr;
  cudaStream_t user_ = nullptr;  // with work on the bytes; what was issued beside the engine's work has been waited for
};

class DeviceMark final : public Mark {
 public:
  explicit DeviceMark(CudaRuntime& runtime);
  ~DeviceMark() override;
  DeviceMark(const DeviceMark&) = delete;
  void wait() override;

 private:
  CudaRuntime& runtime_;
  cudaEvent_t event_ = nullptr;
};

// A captured graph of what is issued on a stream.
class CapturedGraph final : public Recording {
 public:
  // Throws what `issue` throws, and device where the capture fails; the stream is usable afterwards.
  CapturedGraph(cudaStream_t stream, const std::function<void()>& issue);
  ~CapturedGraph() override;
  CapturedGraph(const CapturedGraph&) = delete;
  void replay() override;

 private:
  cudaStream_t stream_;
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace fx::cuda
