// Weights: rows in e4m3, and low-rank differences merged into their base.
#include <algorithm>
#include <vector>

#include "backends/reference/ref_lora.h"
#include "backends/reference/ref_math.h"
#include "backends/reference/ref_ops.h"
#include "core/quantize.h"

namespace fx {

template <class Real>
void RefOps<Real>::do_quantize_rows(const QuantizeRowsArgs& args) {
  for (int64_t row = 0; row < args.x.size(0); ++row) {
    *ref::at(args.scale, row) =
        quantize_row(ref::at(args.x, row), args.x.size(1), ref::at<uint8_t>(args.y, row), args.largest);
  }
}

template <class Real>
void RefOps<Real>::do_merge_lora(const MergeLoraArgs& args) {
  const int64_t in = args.base.size(1);
  const auto segments = ref::segments(args.lora);
  std::vector<Real> sums(in);
  std::vector<float> merged(in);
  for (int64_t row = 0; row < args.base.size(0); ++row) {
    std::copy_n(ref::at(args.base, row), in, sums.begin());
    for (const ref::Segment& s : segments) {
      if (row < s.first_row || row >= s.first_row + s.rows) continue;
      for (int64_t r = 0; r < s.ranks; ++r) {
        const int64_t rank = s.first_rank + r;
        const Real factor = static_cast<Real>(s.b(args.lora, row)[r]) * *ref::at(args.lora.scale, rank);
        const float* a = ref::at(args.lora.a, rank);
        for (int64_t c = 0; c < in; ++c) sums[c] += factor * a[c];
      }
    }
    for (int64_t c = 0; c < in; ++c) merged[c] = static_cast<float>(sums[c]);
    if (args.weight.dtype() == DType::f8_e4m3) {
      *ref::at(args.weight_scale, row) = quantize_row(merged.data(), in, ref::at<uint8_t>(args.weight, row));
    } else {
      std::copy_n(merged.begin(), in, ref::at(args.weight, row));
    }
  }
}

// This back-end multiplies nothing in e4m3, so that no layer takes columns of its front.
template <class Real>
void RefOps<Real>::do_fold_loras(const FoldLorasArgs& all) {
  for (const FoldLoraArgs& args : all.layers) {
    check(!args.lora.defined(), ErrorCode::unsupported, "[fold_lora] the back-end reference has adapters in f32 alone");
    for (const Tensor& rows : {args.weight_front, args.weight_down}) {
      for (int64_t row = 0; row < rows.size(0); ++row) {
        std::fill_n(ref::at<uint8_t>(rows, row), rows.size(1), uint8_t{0});
      }
    }
    std::fill_n(args.column_scale.f32(), args.column_scale.count(), 0.0f);
  }
}

template void RefOps<double>::do_quantize_rows(const QuantizeRowsArgs&);
template void RefOps<float>::do_quantize_rows(const QuantizeRowsArgs&);
template void RefOps<double>::do_merge_lora(const MergeLoraArgs&);
template void RefOps<float>::do_merge_lora(const MergeLoraArgs&);
template void RefOps<double>::do_fold_loras(const FoldLorasArgs&);
template void RefOps<float>::do_fold_loras(const FoldLorasArgs&);

}  // namespace fx
