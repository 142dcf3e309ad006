#include "lora/write/delta_norms.h"

#include <cmath>
#include <span>

#include "core/parallel.h"
#include "lora/delta.h"
#include "lora/patch_change.h"

namespace fx {
namespace {

double squared(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return sum;
}

// Products of all pairs of vectors: element (i, j) of `count` vectors of which vector i has its element k at
// values[i * step + k * stride].
std::vector<double> gram(const std::vector<float>& values, int64_t count, int64_t length, int64_t step,
                         int64_t stride) {
  std::vector<double> products(static_cast<size_t>(count * count), 0.0);
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < length; ++k) {
        sum += static_cast<double>(values[static_cast<size_t>(i * step + k * stride)]) *
               values[static_cast<size_t>(j * step + k * stride)];
      }
      products[static_cast<size_t>(i * count + j)] = products[static_cast<size_t>(j * count + i)] = sum;
    }
  }
  return products;
}

// |B A|^2 is the sum of (B^T B) * (A A^T), elementwise: no need to multiply B and A out.
double squared_norm(const LowRank& pair) {
  const int64_t rank = pair.rank();
  const std::vector<double> a = gram(pair.a.values(), rank, pair.a.columns(), pair.a.columns(), 1);
  const std::vector<double> b = gram(pair.b.values(), rank, pair.b.rows(), 1, rank);
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return std::max(sum, 0.0);
}

// One piece of work: a patch of either kind.
struct Job {
  DensePatch patch;
  double delta = 0, weight = 0;  // squared

  void run(const BaseWeights& weights) {
    const std::vector<float> base = weights.rows(patch.parameter, patch.rows);
    weight = squared(base);
    const auto* pair = std::get_if<LowRank>(&patch.delta);
    if (pair && !patch.magnitude && !patch.replaces) {
      delta = squared_norm(*pair) * patch.scale * patch.scale;
    } else {
      const int64_t in = static_cast<int64_t>(base.size()) / patch.rows.count;
      delta = squared(effective_delta(patch, base, in, 1.0f));
    }
  }
};

}  // namespace

std::vector<DeltaNorm> delta_norms(const Adapter& adapter, const std::map<Component, BaseWeights>& bases) {
  std::vector<Job> jobs;
  for (const Patch& patch : adapter.patches) {
    if (bases.contains(patch.component)) jobs.push_back({as_dense(patch)});
  }
  for (const DensePatch& patch : adapter.dense) {
    if (bases.contains(patch.component)) jobs.push_back({patch});
  }
  parallel_for(static_cast<int64_t>(jobs.size()), [&](int64_t i) {
    Job& job = jobs[static_cast<size_t>(i)];
    job.run(bases.at(job.patch.component));
  });
  std::map<std::pair<Component, std::string>, DeltaNorm> norms;
  for (const Job& job : jobs) {
    DeltaNorm& norm = norms[{job.patch.component, job.patch.parameter}];
    norm.component = job.patch.component;
    norm.parameter = job.patch.parameter;
    norm.delta = std::hypot(norm.delta, std::sqrt(job.delta));
    norm.weight = std::hypot(norm.weight, std::sqrt(job.weight));
  }
  std::vector<DeltaNorm> result;
  for (auto& [place, norm] : norms) result.push_back(std::move(norm));
  return result;
}

DeltaNorm sum(const std::vector<DeltaNorm>& norms, Component component) {
  DeltaNorm total{.component = component};
  for (const DeltaNorm& norm : norms) {
    if (norm.component != component) continue;
    total.delta = std::hypot(total.delta, norm.delta);
    total.weight = std::hypot(total.weight, norm.weight);
  }
  return total;
}

}  // namespace fx
