// A thin layer over cuDNN's backend API: descriptors, graphs of operations, and the plans that run them.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/cuda/cudnn.h"
#include "backends/cuda/device_runtime.h"
#include "core/buffer.h"

namespace fx::cuda {

using Dims = std::vector<int64_t>;

// How the library calls the type of an attribute.
template <class T>
inline constexpr cudnnBackendAttributeType_t kAttributeType = T::unknown_attribute_type;
template <>
inline constexpr cudnnBackendAttributeType_t kAttributeType<int64_t> = CUDNN_TYPE_INT64;
template <>
inline constexpr cudnnBackendAttributeType_t kAttributeType<bool> = CUDNN_TYPE_BOOLEAN;
template <>
inline constexpr cudnnBackendAttributeType_t kAttributeType<float> = CUDNN_TYPE_FLOAT;
template <>
inline constexpr cudnnBackendAttributeType_t kAttributeType<cudnnHandle_t> = CUDNN_TYPE_HANDLE;
template <>
inline constexpr cudnnBackendAttributeType_t kAttributeType<cudnnDataType_t> = CUDNN_TYPE_DATA_TYPE;
template <>
inline constexpr cudnnBackendAttributeType_t kAttributeType<cudnnPointwiseMode_t> = CUDNN_TYPE_POINTWISE_MODE;
template <>
inline constexpr cudnnBackendAttributeType_t kAttributeType<cudnnReduceTensorOp_t> = CUDNN_TYPE_REDUCTION_OPERATOR_TYPE;
template <>
inline constexpr cudnnBackendAttributeType_t kAttributeType<cudnnConvolutionMode_t> = CUDNN_TYPE_CONVOLUTION_MODE;
template <>
inline constexpr cudnnBackendAttributeType_t kAttributeType<cudnnBackendHeurMode_t> = CUDNN_TYPE_HEUR_MODE;

// Owns one descriptor.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type);
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : raw_(other.raw_) { other.raw_ = nullptr; }
  Descriptor& operator=(Descriptor&& other) noexcept;

  cudnnBackendDescriptor_t raw() const { return raw_; }
  template <class T>
  void set(cudnnBackendAttributeName_t name, T value) {
    set(name, kAttributeType<T>, 1, &value);
  }
  void set(cudnnBackendAttributeName_t name, const Dims& values);
  void set(cudnnBackendAttributeName_t name, const Descriptor& value);
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, size_t count, const void* values);
  // Returns how many of the `room` values the descriptor has filled in, 0 where it refuses.
  int64_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t room, void* values) const;
  void finalize(const char* what);
  cudnnStatus_t try_finalize();

 private:
  cudnnBackendDescriptor_t raw_ = nullptr;
};

// The library opened on the stream of a device, with workspace that all plans share: they run one after the other.
class CudnnSession {
 public:
  // Throws device where cuDNN is missing.
  explicit CudnnSession(CudaRuntime& runtime);
  ~CudnnSession();
  CudnnSession(const CudnnSession&) = delete;
  CudnnSession& operator=(const CudnnSession&) = delete;

  cudnnHandle_t handle() const { return handle_; }
  CudaRuntime& runtime() const { return runtime_; }
  // Workspace is reserved when a plan is made. Smaller blocks stay, because captured graphs know their addresses.
  void reserve_workspace(int64_t bytes);
  void* workspace() const { return blocks_.empty() ? nullptr : blocks_.back().tensor().raw(); }

 private:
  CudaRuntime& runtime_;
  cudnnHandle_t handle_ = nullptr;
  int64_t bytes_ = 0;
  std::vector<Buffer> blocks_;
};

// A graph for which the library has found an engine. Running it allocates no device memory and waits for nothing.
class GraphPlan {
 public:
  // Addresses by the uids of the graph's tensors: on the device, or on the host for tensors passed by value.
  void execute(CudnnSession& session, std::span<const int64_t> uids, std::span<void* const> addresses) const;
  int64_t workspace_bytes() const { return workspace_bytes_; }
  int64_t engine() const { return engine_; }  // the library's number of the engine, for reports

 private:
  friend class GraphBuilder;
  GraphPlan(Descriptor plan, std::deque<Descriptor> parts) : plan_(std::move(plan)), parts_(std::move(parts)) {}

  Descriptor plan_;
  std::deque<Descriptor> parts_;  // what the plan was made of
  int64_t workspace_bytes_ = 0, engine_ = -1;
};

// What an engine may not do, and how much workspace it may take.
struct EngineLimits {
  std::vector<cudnnBackendNumericalNote_t> forbidden = {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC};
  int64_t workspace_bytes = int64_t{256} << 20;
};

class GraphBuilder {
 public:
  using Tensor = const Descriptor*;

  Tensor tensor(int64_t uid, cudnnDataType_t dtype, const Dims& dims, const Dims& strides);
  Tensor host_scalar(int64_t uid, int64_t rank);                                   // one f32 that is passed by value
  Tensor temporary(cudnnDataType_t dtype, const Dims& dims, const Dims& strides);  // lives inside the engine only
  // All compute in f32.
  void matmul(Tensor a, Tensor b, Tensor c);
  void pointwise(cudnnPointwiseMode_t mode, Tensor x, Tensor y);
  void pointwise(cudnnPointwiseMode_t mode, Tensor x, Tensor b, Tensor y);
  void reduce(cudnnReduceTensorOp_t operation, Tensor x, Tensor y);
  // Any other operation, to which the caller has given its attributes.
  void add(Descriptor operation);

  // The first engine that the library recommends and that keeps the limits; its workspace is reserved. Throws
  // unsupported "cuDNN has no engine for WHAT: REASON".
  std::unique_ptr<GraphPlan> plan(CudnnSession& session, const EngineLimits& limits, const std::string& what);

 private:
  const Descriptor& keep(Descriptor part);
  Descriptor describe(cudnnDataType_t dtype, const Dims& dims, const Dims& strides, int64_t uid);
  const Descriptor& graph(CudnnSession& session);

  std::deque<Descriptor> parts_;  // never moves what it holds
  std::vector<cudnnBackendDescriptor_t> operations_;
  int64_t next_temporary_ = 1000;
};

}  // namespace fx::cuda
