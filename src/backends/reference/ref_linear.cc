// y = activation(x weight^T + bias + LoRA), or y += gate * (...).
#include <vector>

#include "backends/reference/ref_math.h"
#include "backends/reference/ref_ops.h"

namespace fx {
namespace {

struct Segment {
  int32_t first_rank, ranks, first_row, rows;
};

// result[row] += sum over the segment's ranks of (x . a[rank]) * scale[rank] * b[row, rank].
template <class Real>
void add_lora_segment(const LoraOperand& lora, const Segment& segment, const float* x, std::vector<Real>& result) {
  const int64_t in = lora.a.size(1);
  for (int rank = segment.first_rank; rank < segment.first_rank + segment.ranks; ++rank) {
    const Real t = ref::dot<Real>(x, ref::at(lora.a, rank), in) * *ref::at(lora.scale, rank);
    for (int row = segment.first_row; row < segment.first_row + segment.rows; ++row) {
      result[row] += t * *ref::at(lora.b, row, rank);
    }
  }
}

void check_segment(const LoraOperand& lora, const Segment& s) {
  check(s.first_rank >= 0 && s.ranks >= 0 && s.first_rank + s.ranks <= lora.a.size(0) && s.first_row >= 0 &&
            s.rows >= 0 && s.first_row + s.rows <= lora.b.size(0),
        ErrorCode::internal,
        "LoRA segment of ranks [{}, +{}) and rows [{}, +{}) is outside of slots of {} ranks, {} rows", s.first_rank,
        s.ranks, s.first_row, s.rows, lora.a.size(0), lora.b.size(0));
}

template <class Real>
void add_lora(const LoraOperand& lora, const float* x, std::vector<Real>& result) {
  if (!lora.defined()) return;
  const auto* segments = lora.segments.data<Segment>();
  const int32_t count = *lora.count.i32();
  check(0 <= count && count <= lora.segments.size(0), ErrorCode::internal, "{} LoRA segments, expected 0 to {}", count,
        lora.segments.size(0));
  for (int i = 0; i < count; ++i) {
    check_segment(lora, segments[i]);
    add_lora_segment(lora, segments[i], x, result);
  }
}

}  // namespace

template <class Real>
void RefOps<Real>::do_linear(const LinearArgs& args) {
  const int64_t in = args.x.size(2), out = args.weight.size(0);
  std::vector<Real> result(out);
  for (int64_t b = 0; b < args.x.size(0); ++b) {
    const float* gate = args.gate.defined() ? ref::row_of_step(args.gate, b) : nullptr;
    for (int64_t l = 0; l < args.x.size(1); ++l) {
      const float* x = ref::at(args.x, b, l);  // (in)
      for (int64_t n = 0; n < out; ++n) {
        result[n] =
            ref::dot<Real>(x, ref::at(args.weight, n), in) + (args.bias.defined() ? *ref::at(args.bias, n) : 0.0f);
      }
      add_lora(args.lora, x, result);

      int64_t n = 0;  // row of the weight; the outputs take them in order
      for (const LinearOutput& output : args.outputs) {
        if (!output.y.defined()) continue;
        float* y = ref::at(output.y, b, l);
        for (int64_t c = 0; c < output.y.size(2); ++c, ++n) {
          const Real value = ref::activate(output.activation, result[n]);
          y[c] = static_cast<float>(args.add ? y[c] + (gate ? gate[n] : 1.0f) * value : value);
        }
      }
    }
  }
}

template void RefOps<double>::do_linear(const LinearArgs&);
template void RefOps<float>::do_linear(const LinearArgs&);

}  // namespace fx
