// o = softmax(scale * q k^T + bias) v for each head.
#include <algorithm>
#include <limits>
#include <vector>

#include "backends/reference/ref_math.h"
#include "backends/reference/ref_ops.h"

namespace fx {
namespace {

// Softmax in place. The largest score is subtracted first, so that exp cannot overflow.
template <class Real>
void softmax(std::vector<Real>& scores) {
  const Real largest = *std::max_element(scores.begin(), scores.end());
  Real sum = 0;
  for (Real& s : scores) sum += s = std::exp(s - largest);
  for (Real& s : scores) s /= sum;
}

}  // namespace

template <class Real>
void RefOps<Real>::do_attention(const AttentionArgs& args) {
  const int64_t batch = args.q.size(0), queries = args.q.size(1), heads = args.q.size(2), head_size = args.q.size(3);
  const int64_t keys = args.k.size(1);
  std::vector<Real> scores, sums(head_size);
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t n = 0; n < heads; ++n) {
      for (int64_t i = 0; i < queries; ++i) {
        scores.assign(args.causal ? i + 1 : keys, 0.0);
        for (size_t j = 0; j < scores.size(); ++j) {
          scores[j] = args.scale * ref::dot<Real>(ref::at(args.q, b, i, n), ref::at(args.k, b, j, n), head_size);
          if (args.bias.defined()) scores[j] += *ref::at(args.bias, n, i, j);
        }
        softmax(scores);
        if (bf16_softmax_) {
          for (Real& s : scores) s = bf16_to_f32(f32_to_bf16(static_cast<float>(s)));
        }
        std::fill(sums.begin(), sums.end(), 0.0);
        for (size_t j = 0; j < scores.size(); ++j) {
          const float* v = ref::at(args.v, b, j, n);
          for (int64_t d = 0; d < head_size; ++d) sums[d] += scores[j] * v[d];
        }
        float* o = ref::at(args.o, b, i, n);
        for (int64_t d = 0; d < head_size; ++d) o[d] = static_cast<float>(sums[d]);
      }
    }
  }
}

template void RefOps<double>::do_attention(const AttentionArgs&);
template void RefOps<float>::do_attention(const AttentionArgs&);

}  // namespace fx
