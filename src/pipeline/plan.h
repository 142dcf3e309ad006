// How to hold a model on a device: pure decisions from sizes and what the device can, before anything is loaded.
#pragma once

#include <optional>

#include "pipeline/model.h"

namespace fx {

// What the user asks for; nothing where the device decides.
struct WantedModel {
  std::optional<Precision> precision;
  std::optional<bool> masters;         // merged adapters: no cost per step, and twice the memory for the weights
  bool merging = false;                // adapters will ask to be merged, which is fast with masters
  std::optional<bool> e4m3_attention;
  std::optional<bool> e4m3_modulation;  // in fp8: half the memory for these layers, less exact
  std::optional<int64_t> lora_ranks;   // up to this rank, unmerged adapters join the products of fp8 layers
};

// Device memory of all weights.
size_t weight_bytes(const ModelConfigs& configs, const Ops& ops, const ModelOptions& options);

// Precision: f32 where the device computes in nothing else; fp8 for a transformer of a billion parameters or more on a
// device that multiplies in e4m3; else bf16. In bf16, masters where there is room for them, with two sets of weights where there
// is room for those. In fp8, masters where they are asked for, or where adapters will ask to be merged and there is room; without
// them, where the device multiplies in e4m3, room in the weights for adapters up to rank 128, or 64 where memory is short. e4m3
// attention with fp8, and e4m3 modulation where fp8 would not fit without it; no room at all where even that does not fit.
// Throws out_of_memory, naming what would fit, when the model does not fit the device, and unsupported for a precision
// that it does not compute in.
ModelOptions plan_model(const ModelConfigs& configs, Ops& ops, const WantedModel& wanted);

}  // namespace fx
