#include "backends/cuda/cudnn_graph.h"

#include <algorithm>
#include <array>
#include <bit>

#include "core/error.h"

namespace fx::cuda {
namespace {

// The library orders them by expected speed; an empty list where the mode knows no engine.
std::vector<Descriptor> engine_configs(const Descriptor& graph, cudnnBackendHeurMode_t mode, std::string& reason) {
  Descriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
  const cudnnStatus_t status = heuristic.try_finalize();
  if (status != CUDNN_STATUS_SUCCESS) {
    if (reason.empty()) reason = cudnn().reason(status);
    return {};
  }
  constexpr auto results = CUDNN_ATTR_ENGINEHEUR_RESULTS;
  int64_t count = heuristic.get(results, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, nullptr);
  std::vector<Descriptor> configs;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (int64_t i = 0; i < count; ++i) {
    configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    raw.push_back(configs.back().raw());
  }
  const cudnnStatus_t read =
      cudnn().get_attribute(heuristic.raw(), results, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, &count, raw.data());
  if (read != CUDNN_STATUS_SUCCESS) {
    if (reason.empty()) reason = cudnn().reason(read);
    return {};
  }
  if (static_cast<size_t>(count) < configs.size()) configs.erase(configs.begin() + count, configs.end());
  return configs;
}

struct Engine {
  int64_t number = -1;
  bool allowed = true;
};

Engine engine_of(const Descriptor& config, const EngineLimits& limits) {
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t raw = engine.raw();
  config.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
  Engine result;
  engine.get(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &result.number);
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  const int64_t count = engine.get(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                   static_cast<int64_t>(notes.size()), notes.data());
  for (const auto& note : std::span(notes).first(static_cast<size_t>(std::min<int64_t>(count, notes.size())))) {
    if (std::ranges::find(limits.forbidden, note) != limits.forbidden.end()) result.allowed = false;
  }
  return result;
}

}  // namespace

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
  cudnn().check(cudnn().create_descriptor(type, &raw_), "creating a descriptor");
}

Descriptor::~Descriptor() {
  if (raw_) cudnn().destroy_descriptor(raw_);
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(raw_, other.raw_);
  return *this;
}

void Descriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, size_t count,
                     const void* values) {
  const cudnnStatus_t status = cudnn().set_attribute(raw_, name, type, static_cast<int64_t>(count), values);
  if (status == CUDNN_STATUS_SUCCESS) return;
  fail(ErrorCode::device, "cuDNN: attribute {} is refused: {}", static_cast<int>(name), cudnn().reason(status));
}

void Descriptor::set(cudnnBackendAttributeName_t name, const Dims& values) {
  set(name, CUDNN_TYPE_INT64, values.size(), values.data());
}

void Descriptor::set(cudnnBackendAttributeName_t name, const Descriptor& value) {
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.raw_);
}

int64_t Descriptor::get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t room,
                        void* values) const {
  int64_t count = 0;
  const cudnnStatus_t status = cudnn().get_attribute(raw_, name, type, room, &count, values);
  return status == CUDNN_STATUS_SUCCESS ? count : 0;
}

void Descriptor::finalize(const char* what) { cudnn().check(try_finalize(), what); }

cudnnStatus_t Descriptor::try_finalize() { return cudnn().finalize(raw_); }

CudnnSession::CudnnSession(CudaRuntime& runtime) : runtime_(runtime) {
  cudnn().check(cudnn().create(&handle_), "starting");
  const cudnnStatus_t status = cudnn().set_stream(handle_, runtime.stream());
  if (status == CUDNN_STATUS_SUCCESS) return;
  cudnn().destroy(handle_);
  cudnn().check(status, "choosing a stream");
}

CudnnSession::~CudnnSession() { cudnn().destroy(handle_); }

void CudnnSession::reserve_workspace(int64_t bytes) {
  if (bytes <= bytes_) return;
  const auto rounded = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(bytes)));
  blocks_.emplace_back(runtime_, DType::u8, Shape{rounded});
  bytes_ = rounded;
}

void GraphPlan::execute(CudnnSession& session, std::span<const int64_t> uids, std::span<void* const> addresses) const {
  fx::check(uids.size() == addresses.size(), ErrorCode::internal, "cuDNN: {} uids, but {} addresses", uids.size(),
            addresses.size());
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  void* workspace = session.workspace();
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, uids.size(), uids.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, addresses.size(), addresses.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  pack.finalize("collecting the addresses of a graph");
  cudnn().check(cudnn().execute(session.handle(), plan_.raw(), pack.raw()), "running a graph");
}

const Descriptor& GraphBuilder::keep(Descriptor part) { return parts_.emplace_back(std::move(part)); }

Descriptor GraphBuilder::describe(cudnnDataType_t dtype, const Dims& dims, const Dims& strides, int64_t uid) {
  Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, uid);
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, dtype);
  tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, int64_t{16});
  tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, dims);
  tensor.set(CUDNN_ATTR_TENSOR_STRIDES, strides);
  return tensor;
}

GraphBuilder::Tensor GraphBuilder::tensor(int64_t uid, cudnnDataType_t dtype, const Dims& dims, const Dims& strides) {
  Descriptor tensor = describe(dtype, dims, strides, uid);
  tensor.finalize("describing a tensor");
  return &keep(std::move(tensor));
}

GraphBuilder::Tensor GraphBuilder::host_scalar(int64_t uid, int64_t rank) {
  const Dims ones(static_cast<size_t>(rank), 1);
  Descriptor tensor = describe(CUDNN_DATA_FLOAT, ones, ones, uid);
  tensor.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, true);
  tensor.finalize("describing a number");
  return &keep(std::move(tensor));
}

GraphBuilder::Tensor GraphBuilder::temporary(cudnnDataType_t dtype, const Dims& dims, const Dims& strides) {
  Descriptor tensor = describe(dtype, dims, strides, next_temporary_++);
  tensor.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, true);
  tensor.finalize("describing a temporary tensor");
  return &keep(std::move(tensor));
}

void GraphBuilder::matmul(Tensor a, Tensor b, Tensor c) {
  Descriptor kind(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  kind.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT);
  kind.finalize("describing a product");
  Descriptor operation(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_DESC, keep(std::move(kind)));
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, *a);
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, *b);
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, *c);
  add(std::move(operation));
}

void GraphBuilder::pointwise(cudnnPointwiseMode_t mode, Tensor x, Tensor y) { pointwise(mode, x, nullptr, y); }

void GraphBuilder::pointwise(cudnnPointwiseMode_t mode, Tensor x, Tensor b, Tensor y) {
  Descriptor kind(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  kind.set(CUDNN_ATTR_POINTWISE_MODE, mode);
  kind.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
  kind.finalize("describing a pointwise operation");
  Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, keep(std::move(kind)));
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, *x);
  if (b) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, *y);
  add(std::move(operation));
}

void GraphBuilder::reduce(cudnnReduceTensorOp_t mode, Tensor x, Tensor y) {
  Descriptor kind(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  kind.set(CUDNN_ATTR_REDUCTION_OPERATOR, mode);
  kind.set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  kind.finalize("describing a reduction");
  Descriptor operation(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, keep(std::move(kind)));
  operation.set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, *x);
  operation.set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, *y);
  add(std::move(operation));
}

void GraphBuilder::add(Descriptor operation) {
  operation.finalize("describing an operation");
  operations_.push_back(keep(std::move(operation)).raw());
}

const Descriptor& GraphBuilder::graph(CudnnSession& session) {
  Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, session.handle());
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, operations_.size(), operations_.data());
  graph.finalize("putting a graph together");
  return keep(std::move(graph));
}

std::unique_ptr<GraphPlan> GraphBuilder::plan(CudnnSession& session, const EngineLimits& limits,
                                              const std::string& what) {
  const Descriptor& whole = graph(session);
  std::string reason;  // the first one: it is about the engine that fits best
  bool offered = false;
  for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK}) {
    for (Descriptor& config : engine_configs(whole, mode, reason)) {
      offered = true;
      const Engine engine = engine_of(config, limits);
      if (!engine.allowed) continue;
      Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, session.handle());
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
      const cudnnStatus_t status = plan.try_finalize();
      if (status != CUDNN_STATUS_SUCCESS) {
        if (reason.empty()) reason = cudnn().reason(status);
        continue;
      }
      int64_t bytes = 0;
      plan.get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &bytes);
      if (bytes > limits.workspace_bytes) continue;
      session.reserve_workspace(bytes);
      keep(std::move(config));
      std::unique_ptr<GraphPlan> result(new GraphPlan(std::move(plan), std::move(parts_)));
      result->workspace_bytes_ = bytes;
      result->engine_ = engine.number;
      return result;
    }
  }
  if (reason.empty()) reason = offered ? "none keeps the limits on workspace and precision" : "none for this device";
  fail(ErrorCode::unsupported, "cuDNN has no engine for {}: {}", what, reason);
}

}  // namespace fx::cuda
