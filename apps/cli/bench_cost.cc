#include "bench_cost.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/error.h"

namespace fx::cli {
namespace {

// One table for all devices: shares on another card are relative to the cards of these readings.
constexpr std::array kCeilings = {
    CeilingValue{Ceiling::memory, 4.098e12, "copy on the device, H200, h200-ceilings.log"},
    CeilingValue{Ceiling::bf16_products, 740e12, "cuBLASLt, 8192 cubed, H200, h200-ceilings.log"},
    CeilingValue{Ceiling::e4m3_products, 1325e12, "cuBLASLt with row scales, 8192 cubed, H200, h200-ceilings.log"},
    CeilingValue{Ceiling::bf16_attention, 620e12, "cuDNN, 24 heads of 4608 x 128, H200, h200-ceilings.log"},
    CeilingValue{Ceiling::e4m3_attention, 916e12, "cuDNN, 24 heads of 4608 x 128, H100, docs/benchmarks.md"}};

double bytes_of(const Tensor& tensor) { return tensor.defined() ? static_cast<double>(tensor.bytes()) : 0.0; }

double bytes_of(std::initializer_list<Tensor> tensors) {
  double bytes = 0;
  for (const Tensor& tensor : tensors) bytes += bytes_of(tensor);
  return bytes;
}

Ceiling products_in(DType dtype) {
  if (dtype == DType::f8_e4m3) return Ceiling::e4m3_products;
  return dtype == DType::bf16 ? Ceiling::bf16_products : Ceiling::memory;
}

std::string types(DType from, DType to) {
  return from == to ? std::string(name(from)) : fmt::format("{}>{}", name(from), name(to));
}

double as_double(int64_t count) { return static_cast<double>(count); }

// One step's row of a table.
Tensor row_of(const StepVector& vector) { return vector.defined() ? vector.table[0] : Tensor(); }

// Of an operation that reads these tensors and writes those.
OpCost traffic(std::string_view op, std::initializer_list<Tensor> inputs, std::initializer_list<Tensor> outputs) {
  const Tensor& x = *inputs.begin();
  const Tensor& y = *outputs.begin();
  return {.name = fmt::format("{} {} {}", op, to_string(y.shape()), types(x.dtype(), y.dtype())),
          .bytes = bytes_of(inputs) + bytes_of(outputs)};
}

}  // namespace

std::span<const CeilingValue> ceilings() { return kCeilings; }

double per_second(Ceiling ceiling) {
  const auto found = std::ranges::find(kCeilings, ceiling, &CeilingValue::ceiling);
  check(found != kCeilings.end(), ErrorCode::internal, "a ceiling without a value");
  return found->per_second;
}

double least_seconds(const OpCost& cost) {
  const double bytes = cost.bytes / per_second(Ceiling::memory);
  return cost.ceiling == Ceiling::memory ? bytes : std::max(bytes, cost.flops / per_second(cost.ceiling));
}

OpCost cost_of(std::string_view op, const LinearArgs& args) {
  const int64_t rows = args.x.count() / args.weight.size(1), in = args.weight.size(1), out = args.weight.size(0);
  std::string name = fmt::format("{} {}x{}x{} {}{}", op, rows, in, out, fx::name(args.weight.dtype()),
                                 args.weight_only ? " weight-only" : "");
  for (const LinearOutput& output : args.outputs) {
    if (output.y.defined() && output.activation != Activation::none) name += ", activation";
  }
  if (args.add) name += args.gate.defined() ? ", gated sum" : ", sum";
  if (args.lora.defined()) name += fmt::format(", adapter room {}", args.lora.a.size(0));
  if (args.front_columns > 0) name += fmt::format(", front {}", args.front_columns);
  if (args.x_mean.defined()) name += ", mean";
  const double mean = args.x_mean.defined() ? as_double(args.x_mean.size(1)) : 0;
  const double outputs = bytes_of({args.outputs[0].y, args.outputs[1].y});
  return {.name = std::move(name),
          .flops = 2.0 * as_double(rows) * as_double(in) * as_double(out),
          .bytes = bytes_of({args.x, args.x_scale, args.weight, args.weight_scale, args.bias, args.lora.a, args.lora.b,
                             row_of(args.gate)}) +
                   as_double(args.front_columns * (rows + out + in)) + outputs * (args.add ? 2 : 1) +
                   mean * as_double(out) * as_double(size_of(args.weight.dtype())),
          .ceiling = products_in(args.weight_only ? DType::bf16 : args.weight.dtype())};
}

OpCost cost_of(std::string_view op, const AttentionArgs& args) {
  const int64_t batch = args.q.size(0), queries = args.q.size(1), heads = args.q.size(2), head = args.q.size(3);
  const bool bf16 = args.q.dtype() == DType::bf16;
  return {.name = fmt::format("{} {}x{} heads, {}x{}x{} {}", op, batch, heads, queries, args.k.size(1), head,
                              args.e4m3 ? "e4m3" : name(args.q.dtype())),
          .flops = 4.0 * as_double(batch * heads * head) * as_double(queries) * as_double(args.k.size(1)),
          .bytes = bytes_of({args.q, args.k, args.v, args.o, args.bias}),
          .ceiling = args.e4m3 ? Ceiling::e4m3_attention
                     : bf16    ? Ceiling::bf16_attention
                               : Ceiling::memory};
}

OpCost cost_of(std::string_view op, const Conv2dArgs& args) {
  return {.name = fmt::format("{} {}>{} {}", op, to_string(args.x.shape()), to_string(args.y.shape()),
                              name(args.x.dtype())),
          .flops = 2.0 * as_double(args.y.count()) * as_double(args.weight.count() / args.weight.size(0)),
          .bytes = bytes_of({args.x, args.weight, args.bias}) + bytes_of(args.y) * (args.add ? 2 : 1),
          .ceiling = products_in(args.weight.dtype())};
}

OpCost cost_of(std::string_view op, const MergeLoraArgs& args) {
  return traffic(op, {args.base, args.lora.a, args.lora.b}, {args.weight, args.weight_scale});
}

OpCost cost_of(std::string_view op, const FoldLorasArgs& args) {
  OpCost cost{.name = fmt::format("{} of {} layers", op, args.layers.size())};
  for (const FoldLoraArgs& layer : args.layers) {
    cost.bytes +=
        bytes_of({layer.weight_scale, layer.lora.a, layer.lora.b}) + bytes_of({layer.weight_front, layer.weight_down});
  }
  return cost;
}

OpCost cost_of(std::string_view op, const QkNormRopeArgs& args) {
  const bool apart = args.q_out.defined();
  OpCost cost = traffic(op, {args.q, args.k, args.q_gain, args.k_gain, args.pe}, {apart ? args.q_out : args.q});
  cost.bytes += bytes_of(apart ? args.k_out : args.k);  // written, too
  return cost;
}

OpCost cost_of(std::string_view op, const EmbedRowsArgs& args) {
  OpCost cost = traffic(op, {args.y, args.ids}, {args.y});
  if (args.add) cost.bytes += bytes_of(args.y);
  return cost;
}

OpCost cost_of(std::string_view op, const QuantizeRowsArgs& args) {
  return traffic(op, {args.x}, {args.y, args.scale});
}
OpCost cost_of(std::string_view op, const LnModulateArgs& args) {
  return traffic(op, {args.x, row_of(args.shift), row_of(args.scale)}, {args.y, args.y_scale});
}
OpCost cost_of(std::string_view op, const LayerNormArgs& args) {
  return traffic(op, {args.x, args.gain, args.bias}, {args.y});
}
OpCost cost_of(std::string_view op, const RmsNormArgs& args) { return traffic(op, {args.x, args.gain}, {args.y}); }
OpCost cost_of(std::string_view op, const GroupNormArgs& args) {
  return traffic(op, {args.x, args.gain, args.bias}, {args.y});
}
OpCost cost_of(std::string_view op, const ActivateArgs& args) { return traffic(op, {args.x}, {args.y}); }
OpCost cost_of(std::string_view op, const BinaryArgs& args) { return traffic(op, {args.a, args.b}, {args.y}); }
OpCost cost_of(std::string_view op, const CopyArgs& args) { return traffic(op, {args.x}, {args.y}); }
OpCost cost_of(std::string_view op, const TimestepEmbeddingArgs& args) { return traffic(op, {args.t}, {args.y}); }
OpCost cost_of(std::string_view op, const Upsample2xArgs& args) { return traffic(op, {args.x}, {args.y}); }
OpCost cost_of(std::string_view op, const ToRgb8Args& args) { return traffic(op, {args.x}, {args.y}); }
OpCost cost_of(std::string_view op, const EulerStepArgs& args) {
  return traffic(op, {args.sample, args.velocity}, {args.sample});
}
OpCost cost_of(std::string_view op, const AdvanceStepArgs& args) { return traffic(op, {args.step}, {args.step}); }
OpCost cost_of(std::string_view op, const LatentLayoutArgs& args) {
  return op == "pack_latents" ? traffic(op, {args.latents}, {args.packed}) : traffic(op, {args.packed}, {args.latents});
}

}  // namespace fx::cli
