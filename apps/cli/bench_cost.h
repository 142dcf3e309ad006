// What an operation has to do at least: floating-point operations, and bytes of each input read once and each output
// written once. And what a device can do at most.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "ops/args.h"

namespace fx::cli {

enum class Ceiling { memory, bf16_products, e4m3_products, bf16_attention, e4m3_attention };

struct CeilingValue {
  Ceiling ceiling;
  double per_second;  // operations, or bytes
  std::string_view source;
};
std::span<const CeilingValue> ceilings();
double per_second(Ceiling ceiling);

struct OpCost {
  std::string name;  // kind and shape: operations with one name are summed up
  double flops = 0;
  double bytes = 0;
  Ceiling ceiling = Ceiling::memory;  // of its operations; memory where these do not count
};

// The seconds that the ceilings allow.
double least_seconds(const OpCost& cost);

// Of the operation of this name. Adapters count with the bytes of their slots, whatever part of them is in use, and with
// no operations.
OpCost cost_of(std::string_view op, const LinearArgs& args);
OpCost cost_of(std::string_view op, const AttentionArgs& args);
OpCost cost_of(std::string_view op, const Conv2dArgs& args);
OpCost cost_of(std::string_view op, const QuantizeRowsArgs& args);
OpCost cost_of(std::string_view op, const MergeLoraArgs& args);
OpCost cost_of(std::string_view op, const FoldLorasArgs& args);
OpCost cost_of(std::string_view op, const LnModulateArgs& args);
OpCost cost_of(std::string_view op, const LayerNormArgs& args);
OpCost cost_of(std::string_view op, const RmsNormArgs& args);
OpCost cost_of(std::string_view op, const QkNormRopeArgs& args);
OpCost cost_of(std::string_view op, const GroupNormArgs& args);
OpCost cost_of(std::string_view op, const ActivateArgs& args);
OpCost cost_of(std::string_view op, const BinaryArgs& args);
OpCost cost_of(std::string_view op, const CopyArgs& args);
OpCost cost_of(std::string_view op, const EmbedRowsArgs& args);
OpCost cost_of(std::string_view op, const TimestepEmbeddingArgs& args);
OpCost cost_of(std::string_view op, const LatentLayoutArgs& args);
OpCost cost_of(std::string_view op, const Upsample2xArgs& args);
OpCost cost_of(std::string_view op, const ToRgb8Args& args);
OpCost cost_of(std::string_view op, const EulerStepArgs& args);
OpCost cost_of(std::string_view op, const AdvanceStepArgs& args);

}  // namespace fx::cli
