#include "lora/adapter.h"

#include <fmt/format.h>

namespace fx {

std::string AdapterReport::rank_summary() const {
  if (ranks.empty()) return "none";
  const int64_t least = ranks.begin()->first, most = ranks.rbegin()->first;
  return least == most ? std::to_string(least) : fmt::format("{} to {}", least, most);
}

namespace {

struct BytesOf {
  uint64_t operator()(const Matrix& matrix) const { return matrix.bytes(); }
  uint64_t operator()(const LowRank& pair) const { return pair.a.bytes() + pair.b.bytes(); }
  uint64_t operator()(const HadamardDelta& delta) const { return (*this)(delta.first) + (*this)(delta.second); }
  uint64_t operator()(const KroneckerDelta& delta) const {
    return std::visit(*this, delta.w1) + std::visit(*this, delta.w2);
  }
  uint64_t operator()(const FullDelta& delta) const { return delta.values.bytes(); }
};

}  // namespace

uint64_t bytes_of(const Delta& delta) { return std::visit(BytesOf{}, delta); }

uint64_t Adapter::bytes() const {
  uint64_t total = 0;
  for (const Patch& patch : patches) total += BytesOf{}(patch);
  for (const DensePatch& patch : dense) {
    total += bytes_of(patch.delta);
    if (patch.magnitude) total += patch.magnitude->values.size() * sizeof(float);
  }
  return total;
}

Adapter ready_for_slots(Adapter adapter) {
  for (Patch& patch : adapter.patches) {
    patch.a = patch.a.in_f32();
    patch.b = patch.b.in_f32();
  }
  return adapter;
}

}  // namespace fx
