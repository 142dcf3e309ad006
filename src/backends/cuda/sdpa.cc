#include "backends/cuda/sdpa.h"

#include <algorithm>

#include "core/error.h"

namespace fx::cuda {
namespace {

using Tensor = GraphBuilder::Tensor;

enum Uid : int64_t {
  kQ = 1,
  kK,
  kV,
  kO,
  kScale,
  kDescaleQ,
  kDescaleK,
  kDescaleV,
  kDescaleS,
  kScaleS,
  kScaleO,
  kAmaxS,
  kAmaxO
};

constexpr int64_t kAlignment = 16;  // bytes

// cuDNN wants batch, head, row, channel.
Dims strides_of(const std::array<int64_t, 3>& strides) { return {strides[0], strides[2], strides[1], 1}; }

struct Operands {
  Tensor q, k, v, o;
};

Operands describe(GraphBuilder& graph, const SdpaProblem& p, cudnnDataType_t dtype, bool turn_k) {
  const Dims queries{p.batch, p.heads, p.queries, p.head_size}, keys{p.batch, p.heads, p.keys, p.head_size};
  Dims k = keys, k_strides = strides_of(p.k_strides);
  if (turn_k) {
    std::swap(k[2], k[3]);
    std::swap(k_strides[2], k_strides[3]);
  }
  return {.q = graph.tensor(kQ, dtype, queries, strides_of(p.q_strides)),
          .k = graph.tensor(kK, dtype, k, k_strides),
          .v = graph.tensor(kV, dtype, keys, strides_of(p.v_strides)),
          .o = graph.tensor(kO, dtype, queries, strides_of(p.o_strides))};
}

void build_bf16(GraphBuilder& graph, const SdpaProblem& p) {
  const Operands x = describe(graph, p, CUDNN_DATA_BFLOAT16, false);
  Descriptor attention(CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
  attention.set(CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, *x.q);
  attention.set(CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, *x.k);
  attention.set(CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, *x.v);
  attention.set(CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, *x.o);
  attention.set(CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, *graph.host_scalar(kScale, 4));
  graph.add(std::move(attention));
}

// The engine for e4m3 recognises this graph as a whole: log and add feed nothing, and the amaxes are of no use to us,
// but without any of them there is no match.
void build_fp8(GraphBuilder& graph, const SdpaProblem& p) {
  const Dims scores{p.batch, p.heads, p.queries, p.keys}, rows{p.batch, p.heads, p.queries, 1};
  const Dims score_strides{p.heads * p.queries * p.keys, p.queries * p.keys, p.keys, 1};
  const Dims row_strides{p.heads * p.queries, p.queries, 1, 1}, one{1, 1, 1, 1};
  const Dims out{p.batch, p.heads, p.queries, p.head_size};
  const Dims out_strides{p.heads * p.queries * p.head_size, p.queries * p.head_size, p.head_size, 1};
  const auto number = [&](int64_t uid) { return graph.tensor(uid, CUDNN_DATA_FLOAT, one, one); };
  const auto score = [&] { return graph.temporary(CUDNN_DATA_FLOAT, scores, score_strides); };
  const auto row = [&] { return graph.temporary(CUDNN_DATA_FLOAT, rows, row_strides); };
  const auto value = [&] { return graph.temporary(CUDNN_DATA_FLOAT, out, out_strides); };
  const auto times = [&](Tensor x, Tensor factor, Tensor y) {
    graph.pointwise(CUDNN_POINTWISE_MUL, x, factor, y);
    return y;
  };

  const Operands x = describe(graph, p, CUDNN_DATA_FP8_E4M3, true);
  const Tensor product = score();
  graph.matmul(x.q, x.k, product);
  Tensor s = times(product, graph.host_scalar(kScale, 4), score());
  s = times(s, number(kDescaleQ), score());
  s = times(s, number(kDescaleK), score());

  const Tensor largest = row(), shifted = score(), power = score(), sum = row(), logarithm = row(), weights = score();
  graph.reduce(CUDNN_REDUCE_TENSOR_MAX, s, largest);
  graph.pointwise(CUDNN_POINTWISE_SUB, s, largest, shifted);
  graph.pointwise(CUDNN_POINTWISE_EXP, shifted, power);
  graph.reduce(CUDNN_REDUCE_TENSOR_ADD, power, sum);
  graph.pointwise(CUDNN_POINTWISE_LOG, sum, logarithm);
  graph.pointwise(CUDNN_POINTWISE_ADD, largest, logarithm, row());
  graph.pointwise(CUDNN_POINTWISE_DIV, power, sum, weights);

  const Tensor rounded = times(weights, number(kScaleS), graph.temporary(CUDNN_DATA_FP8_E4M3, scores, score_strides));
  const Tensor mixed = value();
  graph.matmul(rounded, x.v, mixed);
  Tensor o = times(mixed, number(kDescaleS), value());
  o = times(o, number(kDescaleV), value());
  times(o, number(kScaleO), x.o);
  graph.reduce(CUDNN_REDUCE_TENSOR_AMAX, weights, number(kAmaxS));
  graph.reduce(CUDNN_REDUCE_TENSOR_AMAX, o, number(kAmaxO));
}

std::string words(const SdpaProblem& p, bool fp8) {
  return fmt::format("attention in {} ({} x {} heads, {} queries, {} keys, heads of {})", fp8 ? "e4m3" : "bf16",
                     p.batch, p.heads, p.queries, p.keys, p.head_size);
}

// Strides of an axis of one element may be anything.
bool strides_fit(const SdpaProblem& p, bool fp8) {
  const int64_t step = fp8 ? kAlignment : kAlignment / 2;
  const auto fit = [&](const std::array<int64_t, 3>& strides) {
    return std::ranges::all_of(strides, [&](int64_t stride) { return stride > 0 && stride % step == 0; });
  };
  return fit(p.q_strides) && fit(p.k_strides) && fit(p.v_strides) && fit(p.o_strides);
}

bool aligned(const void* address) { return address && reinterpret_cast<uintptr_t>(address) % kAlignment == 0; }

}  // namespace

const Sdpa::Entry& Sdpa::entry_of(const SdpaProblem& p, bool fp8) {
  Key key{fp8, p.batch, p.heads, p.queries, p.keys, p.head_size};
  auto place = key.begin() + 6;
  for (const auto& strides : {p.q_strides, p.k_strides, p.v_strides, p.o_strides}) {
    place = std::copy(strides.begin(), strides.end(), place);
  }
  const auto [found, fresh] = entries_.try_emplace(key);
  Entry& entry = found->second;
  if (!fresh) return entry;
  if (!strides_fit(p, fp8)) {
    entry.refusal = fmt::format("{}: strides are no multiples of {} bytes", words(p, fp8), kAlignment);
    return entry;
  }
  try {
    GraphBuilder graph;
    fp8 ? build_fp8(graph, p) : build_bf16(graph, p);
    entry.plan = graph.plan(session_, {}, words(p, fp8));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::unsupported || error.code() == ErrorCode::device) {
      entry.refusal = error.what();
    } else {
      entries_.erase(found);
      throw;
    }
  }
  return entry;
}

const GraphPlan& Sdpa::plan_of(const SdpaProblem& p, bool fp8) {
  const Entry& entry = entry_of(p, fp8);
  fx::check(entry.plan != nullptr, ErrorCode::unsupported, "{}", entry.refusal);
  fx::check(aligned(p.q) && aligned(p.k) && aligned(p.v) && aligned(p.o), ErrorCode::invalid_argument,
            "{}: addresses must be multiples of {}", words(p, fp8), kAlignment);
  return *entry.plan;
}

bool Sdpa::supports_bf16(const SdpaProblem& problem) { return entry_of(problem, false).plan != nullptr; }

bool Sdpa::supports_fp8(const SdpaProblem& problem) { return entry_of(problem, true).plan != nullptr; }

void Sdpa::run_bf16(const SdpaProblem& p) {
  float scale = p.scale;
  const std::array<int64_t, 5> uids{kQ, kK, kV, kO, kScale};
  const std::array<void*, 5> addresses{const_cast<void*>(p.q), const_cast<void*>(p.k), const_cast<void*>(p.v), p.o,
                                       &scale};
  plan_of(p, false).execute(session_, uids, addresses);
}

void Sdpa::run_fp8(const SdpaProblem& p, const Fp8Scales& s) {
  float scale = p.scale;
  const std::array<int64_t, 13> uids{kQ,        kK,        kV,      kO,      kScale, kDescaleQ, kDescaleK,
                                     kDescaleV, kDescaleS, kScaleS, kScaleO, kAmaxS, kAmaxO};
  const auto plain = [](const void* address) { return const_cast<void*>(address); };
  const std::array<void*, 13> addresses{plain(p.q),
                                        plain(p.k),
                                        plain(p.v),
                                        p.o,
                                        &scale,
                                        plain(s.descale_q),
                                        plain(s.descale_k),
                                        plain(s.descale_v),
                                        plain(s.descale_s),
                                        plain(s.scale_s),
                                        plain(s.scale_o),
                                        s.amax_s,
                                        s.amax_o};
  for (const void* address : addresses) {
    fx::check(address != nullptr, ErrorCode::invalid_argument, "{}: an address is missing", words(p, true));
  }
  plan_of(p, true).execute(session_, uids, addresses);
}

}  // namespace fx::cuda
