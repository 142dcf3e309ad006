#include "lora/apply/merge.h"

#include <algorithm>

#include "core/error.h"
#include "lora/delta.h"
#include "nn/taps.h"

namespace fx {
namespace {

bool replaces(const MergePart& part) {
  const auto* dense = std::get_if<const DensePatch*>(&part.source);
  return dense && (*dense)->replaces;
}

DensePatch patch_of(const MergePart& part) {
  if (const auto* low_rank = std::get_if<const Patch*>(&part.source)) return as_dense(**low_rank);
  return *std::get<const DensePatch*>(part.source);
}

void add(const MergePart& part, const std::vector<float>& base, int64_t in, std::vector<float>& values) {
  const DensePatch patch = patch_of(part);
  const auto base_rows = std::span(base).subspan(patch.rows.begin * in, patch.rows.count * in);
  const std::vector<float> delta = effective_delta(patch, base_rows, in, part.strength);
  const int64_t first = part.rows.begin * in, skipped = (part.rows.begin - patch.rows.begin) * in;
  for (int64_t i = 0; i < part.rows.count * in; ++i) values[first + i] += delta[skipped + i];
}

// Exactly the values of the file, which base + (value - base) need not be.
void replace(const MergePart& part, int64_t in, std::vector<float>& values) {
  DensePatch patch = patch_of(part);
  patch.replaces = false;
  const std::vector<float> nothing(static_cast<size_t>(patch.rows.count * in));
  const std::vector<float> whole = effective_delta(patch, nothing, in, 1.0f);
  std::copy_n(whole.begin() + (part.rows.begin - patch.rows.begin) * in, part.rows.count * in,
              values.begin() + part.rows.begin * in);
}

// Not in the order of the device's work: another thread may be making a picture. Only publishing writes parameters.
std::vector<float> fetch(Runtime& runtime, const Tensor& dense) {
  std::vector<std::byte> stored(static_cast<size_t>(dense.bytes()));
  runtime.fetch(stored.data(), dense.raw(), stored.size());
  std::vector<float> values(static_cast<size_t>(dense.count()));
  convert_to_f32(dense.dtype(), stored.data(), values.data(), values.size());
  return values;
}

// A parameter gets these values, rounded to its type; of one with a master the weight follows with MergedWeights. Waits for
// the copy.
void write_parameter(Ops& ops, const Param& param, const std::vector<float>& values, const Tensor& room) {
  const Tensor& target = param.base();
  if (target.dtype() != DType::f8_e4m3) return upload(ops, values, target);
  const Tensor widened(room.raw(), DType::f32, target.shape());
  upload(ops, values, widened);
  ops.quantize_rows({.x = widened, .y = target, .scale = param.scale, .largest = param.largest()});
  ops.runtime().synchronize();  // the room is used again
}

}  // namespace

std::vector<float> merged_values(const MergedParam& wanted, const Param& param) {
  const int64_t in = param.file_shape.rank() == 2 ? param.file_shape[1] : 1;  // tensors may be exchanged meanwhile
  std::vector<float> values = *wanted.base;
  for (const MergePart& part : wanted.parts) {
    if (replaces(part)) replace(part, in, values);
  }
  for (const MergePart& part : wanted.parts) {
    if (!replaces(part)) add(part, *wanted.base, in, values);
  }
  return values;
}

MergedParams::~MergedParams() {
  try {
    publish({}, {}, room_for({}, {}).tensor());
  } catch (const Error&) {  // the device has failed: nobody reads the weights any more
  }
}

ParamValues MergedParams::base(size_t parameter) const {
  if (const auto found = now_.find(parameter); found != now_.end()) return found->second.base;
  const AdapterTarget::Parameter& place = target_->parameters()[parameter];
  const Tensor& kept = place.param->base();
  if (kept.dtype() != DType::f8_e4m3) return std::make_shared<std::vector<float>>(fetch(*place.runtime, kept));
  check(place.read_base != nullptr, ErrorCode::unsupported,
        "{}: its values are quantised and the model has no file to merge from; keep its adapters low-rank",
        place.param->name);
  return std::make_shared<std::vector<float>>(place.read_base(*place.param));
}

size_t MergedParams::bytes() const {
  size_t total = 0;
  for (const auto& [parameter, merged] : now_) total += merged.base->size() * sizeof(float);
  return total;
}

template <class F>
void MergedParams::each_write(const std::map<size_t, std::vector<float>>& values, const MergedSet& next, F f) const {
  for (const auto& [parameter, merged] : now_) {
    if (!next.contains(parameter)) f(*target_->parameters()[parameter].param, *merged.base);
  }
  for (const auto& [parameter, new_values] : values) f(*target_->parameters()[parameter].param, new_values);
}

Buffer MergedParams::room_for(const std::map<size_t, std::vector<float>>& values, const MergedSet& next) const {
  size_t most = 0;
  each_write(values, next, [&](const Param& param, const std::vector<float>& new_values) {
    if (param.base().dtype() == DType::f8_e4m3) most = std::max(most, new_values.size());
  });
  return most > 0 ? Buffer(ops_.runtime(), DType::f32, {static_cast<int64_t>(most)}) : Buffer();
}

size_t MergedParams::publish(const std::map<size_t, std::vector<float>>& values, MergedSet&& next, const Tensor& room) {
  size_t bytes = 0;
  each_write(values, next, [&](const Param& param, const std::vector<float>& new_values) {
    write_parameter(ops_, param, new_values, room);
    bytes += new_values.size() * sizeof(float);
  });
  now_ = std::move(next);
  return bytes;
}

}  // namespace fx
