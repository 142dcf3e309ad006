#include "backends/cuda/transfer.h"

#include <algorithm>

#include "backends/cuda/cuda_error.h"
#include "backends/cuda/device_runtime.h"
#include "core/error.h"

namespace fx::cuda {
namespace {

constexpr size_t kStep = kTransferBytes;  // sizes are multiples: the next adapter is about as large as the last

}  // namespace

TransferPool::~TransferPool() {
  trim();
  if (stream_) cudaStreamDestroy(stream_);
}

cudaStream_t TransferPool::stream() {
  const std::lock_guard lock(mutex_);
  if (!stream_) check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
  return stream_;
}

TransferPool::Block TransferPool::take(size_t bytes) {
  const std::lock_guard lock(mutex_);
  const size_t rounded = std::max(bytes + kStep - 1, kStep) / kStep * kStep;
  auto best = unused_.end();
  for (auto block = unused_.begin(); block != unused_.end(); ++block) {
    if (rounded == kStep && block->bytes != kStep) continue;  // a piece leaves the large ones to adapters
    if (block->bytes >= bytes && (best == unused_.end() || block->bytes < best->bytes)) best = block;
  }
  if (best != unused_.end()) {
    const Block found = *best;
    unused_.erase(best);
    return found;
  }
  // A large one that is too small now will be so again; the memory is better used once.
  std::erase_if(unused_, [&](const Block& block) {
    const bool useless = block.bytes > kStep && block.bytes < rounded;
    if (useless) cudaFreeHost(block.host);
    return useless;
  });
  Block fresh{.bytes = rounded};
  check_cuda(cudaHostAlloc(reinterpret_cast<void**>(&fresh.host), fresh.bytes, cudaHostAllocDefault),
             "allocating pinned host memory");
  return fresh;
}

void TransferPool::give_back(const Block& block) {
  const std::lock_guard lock(mutex_);
  unused_.push_back(block);
}

void TransferPool::trim() {
  const std::lock_guard lock(mutex_);
  for (const Block& block : unused_) cudaFreeHost(block.host);
  unused_.clear();
}

DeviceStaging::DeviceStaging(TransferPool& pool, CudaRuntime& runtime, size_t bytes)
    : pool_(pool), runtime_(runtime), block_(pool.take(bytes)), bytes_(bytes) {
  try {
    for (cudaEvent_t* event : {&arrived_, &used_}) {
      check_cuda(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "creating an event");
    }
    // On this stream, whatever thread it is: that of the work may be capturing.
    device_ = static_cast<std::byte*>(runtime.allocate_on(pool.stream(), bytes));
  } catch (...) {
    close();
    throw;
  }
}

// The next user may only fill the memory when this one's work on it is done. What never arrived has none: it may be dropped
// by any thread, whatever the stream does.
DeviceStaging::~DeviceStaging() {
  if (user_) {
    cudaEventRecord(used_, user_);
    cudaEventSynchronize(used_);
  }
  if (arrived_) cudaEventSynchronize(arrived_);
  runtime_.release_on(pool_.stream(), device_, bytes_);
  close();
}

void DeviceStaging::close() noexcept {
  pool_.give_back(block_);
  for (cudaEvent_t event : {arrived_, used_}) {
    if (event) cudaEventDestroy(event);
  }
}

void DeviceStaging::send(size_t bytes) {
  const cudaStream_t copies = pool_.stream();
  check_cuda(cudaMemcpyAsync(device_, block_.host, bytes, cudaMemcpyHostToDevice, copies), "sending memory");
  check_cuda(cudaEventRecord(arrived_, copies), "recording an event");
}

const std::byte* DeviceStaging::arrive() {
  const cudaStream_t user = runtime_.stream();
  if (user_ != user) check_cuda(cudaStreamWaitEvent(user, arrived_, 0), "waiting for a transfer");
  user_ = user;
  return device_;
}

void DeviceStaging::wait() {
  if (!user_) return;
  check_cuda(cudaEventRecord(used_, user_), "recording an event");
  check_cuda(cudaEventSynchronize(used_), "waiting for the device");
  user_ = nullptr;
}

DeviceMark::DeviceMark(CudaRuntime& runtime) : runtime_(runtime) {
  check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "creating an event");
  const cudaError_t status = cudaEventRecord(event_, runtime.stream());
  if (status != cudaSuccess) cudaEventDestroy(event_);
  check_cuda(status, "recording an event");
}

DeviceMark::~DeviceMark() { cudaEventDestroy(event_); }

// A fault is thrown when nothing can note another one any more.
void DeviceMark::wait() {
  check_cuda(cudaEventSynchronize(event_), "waiting for the device");
  if (runtime_.has_fault()) runtime_.synchronize();
}

CapturedGraph::CapturedGraph(cudaStream_t stream, const std::function<void()>& issue) : stream_(stream) {
  // Relaxed: other threads may pin memory for the next adapter meanwhile.
  check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "beginning to capture a step");
  cudaGraph_t graph = nullptr;
  try {
    issue();
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    if (graph) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  check_cuda(cudaStreamEndCapture(stream, &graph), "capturing a step");
  const cudaError_t status = cudaGraphInstantiate(&executable_, graph, 0);
  cudaGraphDestroy(graph);
  check_cuda(status, "making a captured step executable");
}

CapturedGraph::~CapturedGraph() {
  cudaStreamSynchronize(stream_);  // it may be running
  if (executable_) cudaGraphExecDestroy(executable_);
}

void CapturedGraph::replay() { check_cuda(cudaGraphLaunch(executable_, stream_), "launching a captured step"); }

}  // namespace fx::cuda
