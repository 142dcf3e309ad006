// y = activation(x weight^T + bias + LoRA), or y += gate * (...).
#include <algorithm>
#include <vector>

#include "backends/reference/ref_lora.h"
#include "backends/reference/ref_math.h"
#include "backends/reference/ref_ops.h"

namespace fx {
namespace {

// result[row] += sum over the segment's ranks of (x . a[rank]) * scale[rank] * b[row, rank of the segment].
template <class Real>
void add_lora_segment(const LoraOperand& lora, const ref::Segment& segment, const Real* x, std::vector<Real>& result) {
  const int64_t in = lora.a.size(1);
  for (int r = 0; r < segment.ranks; ++r) {
    const int rank = segment.first_rank + r;
    const Real t = ref::dot<Real>(x, ref::at(lora.a, rank), in) * *ref::at(lora.scale, rank);
    for (int row = segment.first_row; row < segment.first_row + segment.rows; ++row) {
      result[row] += t * segment.b(lora, row)[r];
    }
  }
}

}  // namespace

template <class Real>
void RefOps<Real>::do_linear(const LinearArgs& args) {
  check(args.x.dtype() == DType::f32 && args.weight.dtype() == DType::f32, ErrorCode::unsupported,
        "[linear] the back-end reference multiplies f32 alone, found x of {} and a weight of {}", name(args.x.dtype()),
        name(args.weight.dtype()));
  const int64_t in = args.x.size(2), out = args.weight.size(0);
  const auto segments = ref::segments(args.lora);
  std::vector<Real> result(out);
  std::vector<Real> row(in);  // of x, and what it stands for besides
  for (int64_t b = 0; b < args.x.size(0); ++b) {
    const float* gate = args.gate.defined() ? ref::row_of_step(args.gate, b) : nullptr;
    for (int64_t l = 0; l < args.x.size(1); ++l) {
      std::copy_n(ref::at(args.x, b, l), in, row.begin());
      for (int64_t c = 0; args.x_mean.defined() && c < args.x_mean.size(1); ++c) row[c] += ref::at(args.x_mean, b)[c];
      const Real* x = row.data();
      for (int64_t n = 0; n < out; ++n) {
        result[n] =
            ref::dot<Real>(x, ref::at(args.weight, n), in) + (args.bias.defined() ? *ref::at(args.bias, n) : 0.0f);
      }
      for (const ref::Segment& segment : segments) add_lora_segment(args.lora, segment, x, result);

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
