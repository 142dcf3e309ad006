#include "backends/cuda/device_runtime.h"

#include <algorithm>
#include <cstring>

#include "backends/cuda/cuda_error.h"
#include "core/error.h"
#include "core/finally.h"

namespace fx::cuda {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
// The runtime beside whose stream this thread works.
thread_local const CudaRuntime* beside_whom = nullptr;

constexpr int kOldestCapability = 80;  // Ampere: what the fat build begins with

cudaMemcpyKind kind_of(CopyKind kind) {
  switch (kind) {
    case CopyKind::host_to_device: return cudaMemcpyHostToDevice;
    case CopyKind::device_to_host: return cudaMemcpyDeviceToHost;
    case CopyKind::device_to_device: return cudaMemcpyDeviceToDevice;
  }
  return cudaMemcpyDefault;
}

}  // namespace

void CudaRuntime::open_device() {
  int count = 0;
  cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count == 0) status = cudaErrorNoDevice;
  if (status == cudaSuccess) status = cudaSetDevice(0);
  if (status == cudaSuccess) status = cudaFree(nullptr);  // makes the context, where most of what can fail fails
  if (status == cudaSuccess) return;
  cudaGetLastError();
  fail(ErrorCode::device, "no CUDA device: {}", cudaGetErrorString(status));
}

// Freed memory stays with the process: encoders and VAE allocate the same sizes for every picture.
void CudaRuntime::open_pool() {
  int supported = 0;
  check_cuda(cudaDeviceGetAttribute(&supported, cudaDevAttrMemoryPoolsSupported, 0), "asking for memory pools");
  if (!supported) return;
  check_cuda(cudaDeviceGetDefaultMemPool(&pool_, 0), "finding the device's memory pool");
  uint64_t keep = UINT64_MAX;
  check_cuda(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keep), "setting up the memory pool");
}

CudaRuntime::CudaRuntime() {
  open_device();
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, 0), "reading the device's properties");
  capability_ = properties.major * 10 + properties.minor;
  name_ = fmt::format("cuda ({})", properties.name);
  check(capability_ >= kOldestCapability, ErrorCode::unsupported,
        "{} has compute capability {}.{}; expected 8.0 or newer", properties.name, properties.major, properties.minor);

  int lowest = 0, highest = 0;
  check_cuda(cudaDeviceGetStreamPriorityRange(&lowest, &highest), "asking for priorities");
  check_cuda(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, highest), "creating a stream");
  check_cuda(cudaStreamCreateWithPriority(&beside_, cudaStreamNonBlocking, lowest), "creating a stream");
  open_pool();
  check_cuda(cudaHostAlloc(reinterpret_cast<void**>(&fault_), sizeof(DeviceFault), cudaHostAllocMapped),
             "allocating pinned host memory");
  *fault_ = {};
  transfers_ = std::make_unique<TransferPool>();
}

CudaRuntime::~CudaRuntime() {
  for (cudaStream_t stream : {stream_, beside_}) {
    if (stream) cudaStreamSynchronize(stream);
  }
  transfers_.reset();
  if (fault_) cudaFreeHost(fault_);
  for (cudaStream_t stream : {stream_, beside_}) {
    if (stream) cudaStreamDestroy(stream);
  }
  if (pool_) cudaMemPoolTrimTo(pool_, 0);
}

void* CudaRuntime::allocate(size_t bytes) {
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(stream_, &capture), "asking for the stream's state");
  check(capture == cudaStreamCaptureStatusNone, ErrorCode::internal,
        "{} bytes of device memory asked for while a graph is captured: run once before the capture", bytes);
  return allocate_on(stream_, bytes);
}

void* CudaRuntime::allocate_on(cudaStream_t stream, size_t bytes) {
  void* data = nullptr;
  const size_t some = std::max<size_t>(bytes, 1);
  const cudaError_t status = pool_ ? cudaMallocAsync(&data, some, stream) : cudaMalloc(&data, some);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    fail(ErrorCode::out_of_memory,
         "out of device memory: {:.2f} GiB more are needed; {:.2f} GiB are in use here and {:.2f} of {:.2f} GiB are "
         "free; "
         "a smaller picture may fit",
         static_cast<double>(bytes) / kGiB, static_cast<double>(current_.load()) / kGiB,
         static_cast<double>(free) / kGiB, static_cast<double>(total) / kGiB);
  }
  check_cuda(status, "allocating device memory");
  count(static_cast<int64_t>(bytes));
  return data;
}

void CudaRuntime::release(void* data, size_t bytes) noexcept { release_on(stream_, data, bytes); }

void CudaRuntime::release_on(cudaStream_t stream, void* data, size_t bytes) noexcept {
  // A failure here is the failure of earlier work, which the next call reports.
  if (pool_) cudaFreeAsync(data, stream);
  else cudaFree(data);
  count(-static_cast<int64_t>(bytes));
}

void CudaRuntime::count(int64_t bytes) noexcept {
  const size_t now = current_.fetch_add(static_cast<size_t>(bytes)) + static_cast<size_t>(bytes);
  size_t peak = peak_.load();
  while (bytes > 0 && now > peak && !peak_.compare_exchange_weak(peak, now)) {}
}

void CudaRuntime::copy(void* target, const void* source, size_t bytes, CopyKind kind) {
  if (bytes > 0) check_cuda(cudaMemcpyAsync(target, source, bytes, kind_of(kind), stream()), "copying memory");
}

void CudaRuntime::fill_zero(void* target, size_t bytes) {
  if (bytes > 0) check_cuda(cudaMemsetAsync(target, 0, bytes, stream()), "filling memory");
}

size_t CudaRuntime::available() const {
  size_t free = 0, total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "asking for free memory");
  return free;
}

// By way of pinned memory: the driver's own way into other memory is one thread's, and locks out all others.
void CudaRuntime::fetch(void* target, const void* source, size_t bytes) {
  if (bytes == 0) return;
  const cudaStream_t copies = transfers_->stream();
  const TransferPool::Block pinned = transfers_->take(std::min(bytes, kTransferBytes));
  const Finally back([&] { transfers_->give_back(pinned); });
  for (size_t done = 0; done < bytes;) {
    const size_t part = std::min(bytes - done, pinned.bytes);
    const std::byte* from = static_cast<const std::byte*>(source) + done;
    check_cuda(cudaMemcpyAsync(pinned.host, from, part, cudaMemcpyDeviceToHost, copies), "fetching memory");
    check_cuda(cudaStreamSynchronize(copies), "waiting for a transfer");
    std::memcpy(static_cast<std::byte*>(target) + done, pinned.host, part);
    done += part;
  }
}

std::unique_ptr<Staging> CudaRuntime::stage(size_t bytes) {
  return std::make_unique<DeviceStaging>(*transfers_, *this, bytes);
}

std::unique_ptr<Recording> CudaRuntime::record(const std::function<void()>& work) {
  return std::make_unique<CapturedGraph>(stream_, work);
}

cudaStream_t CudaRuntime::stream() const { return beside_whom == this ? beside_ : stream_; }

void CudaRuntime::beside(const std::function<void()>& work) {
  const CudaRuntime* const before = beside_whom;
  beside_whom = this;
  try {
    work();
  } catch (...) {
    beside_whom = before;
    cudaStreamSynchronize(beside_);
    throw;
  }
  beside_whom = before;
  check_cuda(cudaStreamSynchronize(beside_), "waiting for the device");
}

void CudaRuntime::synchronize() {
  check_cuda(cudaStreamSynchronize(stream_), "waiting for the device");
  throw_fault(*fault_);
}

std::unique_ptr<Mark> CudaRuntime::mark() { return std::make_unique<DeviceMark>(*this); }

}  // namespace fx::cuda
