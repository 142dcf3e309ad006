#include "lora/apply/merge.h"

#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"
#include "lora/apply/merged_rows.h"

namespace fx {
namespace {

constexpr int64_t kRows = 8;     // merged at a time, so that they stay in a core's cache,
constexpr int64_t kPiece = 256;  // and one after the other by the same core

// Rows of a parameter without adapters, in f32: from the model's file where the device has less.
BaseRows base_rows(const MergedParam& wanted, const AdapterTarget::Parameter& parameter) {
  if (!wanted.base->quantised()) {
    return [&base = *wanted.base](int64_t begin, int64_t count, float* target) { base.read(begin, count, target); };
  }
  return [&parameter](int64_t begin, int64_t count, float* target) {
    std::ranges::copy(parameter.read_base(*parameter.param, {begin, count}), target);
  };
}

}  // namespace

StoredValues merged_values(const MergedParam& wanted, const AdapterTarget::Parameter& parameter) {
  const int64_t in = parameter.param->columns(), rows = parameter.param->file_shape[0];
  const MergedRows merged(wanted.parts, in, base_rows(wanted, parameter));
  StoredValues result(*parameter.param);
  parallel_for((rows + kPiece - 1) / kPiece, [&](int64_t piece) {
    std::vector<float> values(static_cast<size_t>(kRows * in));
    MergedRows::Room room;
    const int64_t end = std::min((piece + 1) * kPiece, rows);
    for (int64_t row = piece * kPiece; row < end; row += kRows) {
      const int64_t count = std::min(kRows, end - row);
      merged.read(row, count, values.data(), room);
      result.write(row, count, values.data());
    }
  });
  return result;
}

MergedParams::~MergedParams() {
  try {
    publish(*prepare({}, {}), {});
  } catch (const std::exception&) {
    // No device, or no memory at all: whoever goes on with the weights is to load them again.
  }
}

std::shared_ptr<const StoredValues> MergedParams::base(size_t parameter) const {
  if (const auto found = now_.find(parameter); found != now_.end()) return found->second.base;
  const AdapterTarget::Parameter& place = target_->parameters()[parameter];
  check(place.param->base().dtype() != DType::f8_e4m3 || place.read_base, ErrorCode::unsupported,
        "{}: its values are quantised and the model has no file to merge from; keep its adapters low-rank",
        place.param->name);
  return std::make_shared<StoredValues>(StoredValues::fetched(*place.runtime, *place.param));
}

size_t MergedParams::bytes() const {
  size_t total = 0;
  for (const auto& [parameter, merged] : now_) total += merged.base->bytes();
  return total;
}

size_t MergedParams::more_bytes(const MergedSet& next) const {
  size_t total = 0;
  for (const auto& [parameter, wanted] : next) {
    const auto found = now_.find(parameter);
    if (found != now_.end() && found->second.parts == wanted.parts) continue;
    const size_t bytes = StoredValues::bytes_of(*target_->parameters()[parameter].param);
    total += bytes * (found == now_.end() ? 2 : 1);
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

std::unique_ptr<ParamUpload> MergedParams::prepare(const MergedValues& values, const MergedSet& next) const {
  std::vector<ParamUpload::Write> writes;
  const auto param = [&](size_t parameter) { return target_->parameters()[parameter].param; };
  for (const auto& [parameter, merged] : now_) {
    if (!next.contains(parameter)) writes.push_back({param(parameter), merged.base.get()});
  }
  for (const auto& [parameter, new_values] : values) writes.push_back({param(parameter), &new_values});
  return std::make_unique<ParamUpload>(ops_, writes);
}

size_t MergedParams::publish(ParamUpload& upload, MergedSet&& next) {
  const size_t bytes = upload.run();
  now_ = std::move(next);
  return bytes;
}

}  // namespace fx
