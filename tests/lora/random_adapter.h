// Adapters in memory, of any kind and for any layers, that follow from a seed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lora/adapter.h"
#include "lora/target.h"
#include "support/random.h"

namespace fx::test {

class RandomAdapter {
 public:
  RandomAdapter(const AdapterTarget& target, const std::string& name) : target_(target), rng_(name) {
    adapter_.name = name;
  }

  // A low-rank patch, of rank 1 to `most`, for about `share` of all layers, on all rows or on some.
  RandomAdapter& low_rank(float share, int64_t most = 16) {
    for (const AdapterTarget::Slot& slot : target_.slots()) {
      if (rng_.uniform() >= share) continue;
      const RowRange rows = some_rows(slot.slot->out);
      Patch patch{pair(rows.count, 1 + rng_.below(most), slot.slot->in)};
      patch.component = slot.component;
      patch.module = slot.slot->module;
      patch.rows = rows;
      patch.scale = rng_.uniform(0.25f, 2.0f);
      adapter_.patches.push_back(std::move(patch));
    }
    return *this;
  }

  // A change that is not low-rank, of a kind of its own, for about `share` of all matrices, biases and gains.
  RandomAdapter& dense(float share) {
    for (const AdapterTarget::Parameter& parameter : target_.parameters()) {
      const Tensor& tensor = parameter.param->tensor;
      if (tensor.rank() > 2 || rng_.uniform() >= share) continue;
      const int64_t in = tensor.rank() == 2 ? tensor.size(1) : 1;
      DensePatch patch{.component = parameter.component, .parameter = parameter.param->name};
      patch.rows = in == 1 ? RowRange{0, tensor.size(0)} : some_rows(tensor.size(0));
      patch.scale = rng_.uniform(0.25f, 2.0f);
      fill(patch, in);
      adapter_.dense.push_back(std::move(patch));
    }
    return *this;
  }

  std::shared_ptr<const Adapter> make() { return std::make_shared<Adapter>(std::move(adapter_)); }

 private:
  Matrix matrix(int64_t rows, int64_t columns) {
    std::vector<float> values(static_cast<size_t>(rows * columns));
    rng_.fill_normal(values, 0.2f);
    return Matrix::of(rows, columns, values);
  }
  LowRank pair(int64_t rows, int64_t rank, int64_t in) {
    Matrix a = matrix(rank, in);
    return {std::move(a), matrix(rows, rank)};
  }
  RowRange some_rows(int64_t rows) {
    return rows % 2 == 0 && rng_.below(2) ? RowRange{rows / 2 * rng_.below(2), rows / 2} : RowRange{0, rows};
  }
  void fill(DensePatch& patch, int64_t in) {
    const int64_t rows = patch.rows.count;
    if (in == 1) {
      patch.delta = FullDelta{matrix(1, rows)};
      return;
    }
    switch (rng_.below(4)) {
      case 0: patch.delta = FullDelta{matrix(rows, in)}; break;
      case 1: patch.delta = HadamardDelta{pair(rows, 2, in), pair(rows, 1, in)}; break;
      case 2: patch.delta = KroneckerDelta{matrix(rows, 1), matrix(1, in)}; break;
      default:
        patch.delta = pair(rows, 3, in);
        patch.magnitude = Magnitude{std::vector<float>(static_cast<size_t>(rows), 1.5f), false};
    }
    if (rng_.below(4) == 0) { patch.magnitude = Magnitude{std::vector<float>(static_cast<size_t>(in), 1.25f), true}; }
  }

  const AdapterTarget& target_;
  Rng rng_;
  Adapter adapter_;
};

}  // namespace fx::test
