#include "backends/cuda/convolution.h"

#include "core/error.h"

namespace fx::cuda {
namespace {

using Tensor = GraphBuilder::Tensor;

enum Uid : int64_t { kX = 1, kW, kBias, kResidual, kY };

constexpr uintptr_t kAlignment = 16;

cudnnDataType_t dtype_of(DType dtype) {
  switch (dtype) {
    case DType::bf16: return CUDNN_DATA_BFLOAT16;
    case DType::f32: return CUDNN_DATA_FLOAT;
    default: fail(ErrorCode::internal, "convolution: expected bf16 or f32, found {}", name(dtype));
  }
}

// cuDNN names the axes batch, channel, height, width; ours lie in memory with the channels last.
struct Layout {
  Dims dims, strides;
  Layout(int64_t batch, int64_t height, int64_t width, int64_t channels)
      : dims{batch, channels, height, width}, strides{height * width * channels, 1, width * channels, channels} {}
};

Tensor tensor(GraphBuilder& graph, int64_t uid, DType dtype, const Layout& layout) {
  return graph.tensor(uid, dtype_of(dtype), layout.dims, layout.strides);
}

// y = conv(x, w) + old * y.
void add_convolution(GraphBuilder& graph, const ConvolutionProblem& p, Tensor x, Tensor w, Tensor y, float old) {
  Descriptor kind(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  kind.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  kind.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION);
  kind.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, int64_t{2});
  kind.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, Dims{1, 1});
  kind.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, Dims{p.stride, p.stride});
  kind.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, Dims{p.pad_begin, p.pad_begin});
  kind.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, Dims{p.pad_end, p.pad_end});
  kind.finalize("describing a convolution");
  Descriptor operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, kind);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, *x);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, *w);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, *y);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1.0f);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, old);
  graph.add(std::move(operation));
}

void build(GraphBuilder& graph, const ConvolutionProblem& p, bool fused) {
  const Tensor x = tensor(graph, kX, p.dtype, {p.batch, p.height, p.width, p.in});
  const Tensor w = tensor(graph, kW, p.dtype, {p.out, p.kernel_height, p.kernel_width, p.in});
  const Layout whole{p.batch, p.out_height(), p.out_width(), p.out};
  const Tensor y = tensor(graph, kY, p.dtype, whole);
  const bool bias = fused && p.bias, residual = fused && p.residual;
  const auto temporary = [&] { return graph.temporary(CUDNN_DATA_FLOAT, whole.dims, whole.strides); };
  Tensor sum = bias || residual ? temporary() : y;
  add_convolution(graph, p, x, w, sum, !fused && p.residual ? 1.0f : 0.0f);
  // cuDNN's prepared kernels know this order only: the residual first.
  if (residual) {
    const Tensor next = bias ? temporary() : y;
    graph.pointwise(CUDNN_POINTWISE_ADD, sum, tensor(graph, kResidual, p.dtype, whole), next);
    sum = next;
  }
  if (bias) graph.pointwise(CUDNN_POINTWISE_ADD, sum, tensor(graph, kBias, p.bias_dtype, {1, 1, 1, p.out}), y);
}

// The same bits for the same call, and no transforms, which are less exact. In f32 no tensor cores: they mean TF32.
EngineLimits limits_of(DType dtype) {
  EngineLimits limits;
  limits.forbidden.insert(limits.forbidden.end(), {CUDNN_NUMERICAL_NOTE_FFT, CUDNN_NUMERICAL_NOTE_WINOGRAD});
  if (dtype == DType::f32) {
    limits.forbidden.insert(limits.forbidden.end(),
                            {CUDNN_NUMERICAL_NOTE_TENSOR_CORE, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS,
                             CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION});
  }
  return limits;
}

std::string words(const ConvolutionProblem& p) {
  return fmt::format("a convolution in {} ({} x {} x {} x {}, {} x {} -> {}, stride {}, pads {} and {})", name(p.dtype),
                     p.batch, p.height, p.width, p.in, p.kernel_height, p.kernel_width, p.out, p.stride, p.pad_begin,
                     p.pad_end);
}

bool aligned(const void* address) { return reinterpret_cast<uintptr_t>(address) % kAlignment == 0; }

}  // namespace

const Convolution::Entry& Convolution::entry_of(const ConvolutionProblem& p) {
  const Key key{static_cast<int64_t>(p.dtype),
                p.bias ? static_cast<int64_t>(p.bias_dtype) : -1,
                p.residual != nullptr,
                p.batch,
                p.height,
                p.width,
                p.in,
                p.out,
                p.kernel_height,
                p.kernel_width,
                p.stride,
                p.pad_begin,
                p.pad_end};
  const auto [found, fresh] = entries_.try_emplace(key);
  Entry& entry = found->second;
  if (!fresh) return entry;
  for (const bool fused : {true, false}) {
    if (!fused && !p.bias && !p.residual) break;  // it would be the same graph
    try {
      GraphBuilder graph;
      build(graph, p, fused);
      entry.plan = graph.plan(session_, limits_of(p.dtype), words(p));
      entry.fused = fused;
      return entry;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::unsupported && error.code() != ErrorCode::device) {
        entries_.erase(found);
        throw;
      }
      entry.refusal = error.what();
    }
  }
  return entry;
}

bool Convolution::supports(const ConvolutionProblem& problem) { return entry_of(problem).plan != nullptr; }

bool Convolution::run(const ConvolutionProblem& p) {
  const Entry& entry = entry_of(p);
  fx::check(entry.plan != nullptr, ErrorCode::unsupported, "{}", entry.refusal);
  fx::check(p.x && p.w && p.y && aligned(p.x) && aligned(p.w) && aligned(p.y) && aligned(p.bias) && aligned(p.residual),
            ErrorCode::invalid_argument, "{}: addresses must be multiples of {}", words(p), kAlignment);
  std::vector<int64_t> uids{kX, kW, kY};
  std::vector<void*> addresses{const_cast<void*>(p.x), const_cast<void*>(p.w), p.y};
  const auto pass = [&](Uid uid, const void* address) {
    if (!entry.fused || !address) return;
    uids.push_back(uid);
    addresses.push_back(const_cast<void*>(address));
  };
  pass(kBias, p.bias);
  pass(kResidual, p.residual);
  if (!entry.fused && p.residual && p.residual != p.y) {
    const auto count = static_cast<size_t>(p.batch * p.out_height() * p.out_width() * p.out);
    session_.runtime().copy(p.y, p.residual, count * size_of(p.dtype), CopyKind::device_to_device);
  }
  entry.plan->execute(session_, uids, addresses);
  return entry.fused || !p.bias;
}

}  // namespace fx::cuda
