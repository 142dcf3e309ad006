// What a set of adapters asks of each layer and each parameter: the plan of a swap, before any number is laid out.
#pragma once

#include <map>
#include <memory>
#include <variant>
#include <vector>

#include "lora/adapter.h"
#include "lora/settings.h"
#include "lora/target.h"

namespace fx {

// An adapter and how it acts: W += scale * (alpha / rank) * B A.
struct AppliedAdapter {
  std::shared_ptr<const Adapter> adapter;
  AdapterSettings settings;
  bool operator==(const AppliedAdapter&) const = default;
};

// Adapters that act together; their differences add up.
using AdapterSet = std::vector<AppliedAdapter>;

// For each adapter of a set: whether its part of the transformer acts.
using Acting = std::vector<bool>;
Acting acting_at(const AdapterSet& adapters, int step, int steps);
// Those that act at some step.
Acting acting_ever(const AdapterSet& adapters);

// What runs beside the weight of a layer: a patch, or where block weights divide it, some rows of one.
struct SlotPart {
  const Patch* patch;
  RowRange rows;  // of the layer
  float scale;    // patch scale times the user's; 0 keeps the place, so that only scales change when it acts again
  bool operator==(const SlotPart&) const = default;
};

// What is merged into a parameter.
struct MergePart {
  std::variant<const Patch*, const DensePatch*> source;
  RowRange rows;   // of the parameter
  float strength;  // the user's, not 0
  bool operator==(const MergePart&) const = default;
};

struct AdapterParts {
  std::vector<std::vector<SlotPart>> slots;             // by index of AdapterTarget::slots()
  std::map<size_t, std::vector<MergePart>> parameters;  // by index of AdapterTarget::parameters()
};

// The parts in the order of the set, on which rounding depends, and nothing else. Throws invalid_argument for settings
// that are not valid, a block weight that names no module of the model, or an adapter that was read for another model.
AdapterParts parts_of(const AdapterSet& adapters, const Acting& acting, const AdapterTarget& target);

}  // namespace fx
