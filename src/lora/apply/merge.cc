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

// Calls take(values of the parameter's row, its difference) for the rows of a part.
template <class F>
void each_row(const MergePart& part, const DensePatch& patch, std::span<const float> base_rows, int64_t in,
              float strength, std::vector<float>& values, F take) {
  each_delta_row(patch, base_rows, in, strength, [&](int64_t row, const float* delta) {
    row += patch.rows.begin;
    if (row < part.rows.begin || row >= part.rows.begin + part.rows.count) return;
    take(values.data() + row * in, delta);
  });
}

void add(const MergePart& part, const std::vector<float>& base, int64_t in, std::vector<float>& values) {
  const DensePatch patch = patch_of(part);
  const auto base_rows = std::span(base).subspan(patch.rows.begin * in, patch.rows.count * in);
  each_row(part, patch, base_rows, in, part.strength, values, [in](float* row, const float* delta) {
    for (int64_t i = 0; i < in; ++i) row[i] += delta[i];
  });
}

// Exactly the values of the file, which base + (value - base) need not be.
void replace(const MergePart& part, const std::vector<float>& base, int64_t in, std::vector<float>& values) {
  DensePatch patch = patch_of(part);
  patch.replaces = false;
  const std::vector<float> nothing(patch.magnitude ? static_cast<size_t>(patch.rows.count * in) : 0);
  const auto base_rows =
      std::span(base).subspan(patch.rows.begin * in, patch.rows.count * in);  // only magnitudes see it
  each_row(part, patch, patch.magnitude ? nothing : base_rows, in, 1.0f, values,
           [in](float* row, const float* whole) { std::copy_n(whole, in, row); });
}

// Not in the order of the device's work: another thread may be making a picture. Only publishing writes parameters.
std::vector<float> fetch(Runtime& runtime, const Tensor& dense) {
  std::vector<float> values(static_cast<size_t>(dense.count()));
  if (dense.dtype() == DType::f32) {
    runtime.fetch(values.data(), dense.raw(), static_cast<size_t>(dense.bytes()));
    return values;
  }
  std::vector<std::byte> stored(static_cast<size_t>(dense.bytes()));
  runtime.fetch(stored.data(), dense.raw(), stored.size());
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
    if (replaces(part)) replace(part, *wanted.base, in, values);
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

size_t MergedParams::more_bytes(const MergedSet& next) const {
  size_t total = 0;
  for (const auto& [parameter, wanted] : next) {
    const auto found = now_.find(parameter);
    if (found != now_.end() && found->second.parts == wanted.parts) continue;
    const auto count = static_cast<size_t>(target_->parameters()[parameter].param->file_shape.count());
    total += sizeof(float) * count * (found == now_.end() ? 2 : 1);
  }
  return total;
}

void MergedParams::check_room(const MergedSet& next) const {
  constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
  const size_t bytes = more_bytes(next);
  if (bytes == 0) return;
  const size_t free = ops_.runtime().host_available();
  check(bytes <= free, ErrorCode::out_of_memory,
        "merging these adapters takes {:.1f} GiB of main memory, and {:.1f} GiB are free; low-rank ones beside the "
        "weights need none",
        static_cast<double>(bytes) / kGiB, static_cast<double>(free) / kGiB);
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
