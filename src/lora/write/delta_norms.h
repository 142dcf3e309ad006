// How large the changes of an adapter are, beside the weights that they change: for reports.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lora/adapter.h"
#include "lora/write/base_weights.h"

namespace fx {

// Euclidean norms over the rows of one parameter that the adapter changes, at scale 1.
struct DeltaNorm {
  Component component = Component::transformer;
  std::string parameter;  // canonical
  double delta = 0, weight = 0;
  double relative() const { return weight > 0 ? delta / weight : 0; }
};

// One entry for each parameter that is changed, but for those of components that `bases` lacks. Reads all their weights.
std::vector<DeltaNorm> delta_norms(const Adapter& adapter, const std::map<Component, BaseWeights>& bases);

// Those of one component together.
DeltaNorm sum(const std::vector<DeltaNorm>& norms, Component component);

}  // namespace fx
