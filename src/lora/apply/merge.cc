#include "lora/apply/merge.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/parallel.h"
#include "lora/apply/merged_rows.h"

namespace fx {
namespace {

constexpr int64_t kRows = 8;     // merged at a time, so that they stay in a core's cache,
constexpr int64_t kPiece = 256;  // and one after the other by the same core

// Rows of a parameter without adapters, in f32: from the model's file where the device has less.
BaseRows base_rows(const MergedParam& wanted, const AdapterTarget::Parameter& parameter) {
  if (wanted.base->scales().empty()) {
    return [&base = *wanted.base](int64_t begin, int64_t count, float* target) { base.read(begin, count, target); };
  }
  return [&parameter](int64_t begin, int64_t count, float* target) {
    std::ranges::copy(parameter.read_base(*parameter.param, {begin, count}), target);
  };
}

}  // namespace

StoredValues merged_values(const MergedParam& wanted, const AdapterTarget::Parameter& parameter) {
  const int64_t in = columns_of(*parameter.param), rows = parameter.param->file_shape[0];
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
    UploadLanes lanes = lanes_for({}, {});
    publish({}, {}, lanes);
  } catch (const Error&) {  // the device has failed: nobody reads the weights any more
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

std::vector<MergedParams::Transfer> MergedParams::transfers(const MergedValues& values, const MergedSet& next) const {
  std::vector<Transfer> all;
  const auto add = [&](size_t parameter, const StoredValues& written) {
    const Param& param = *target_->parameters()[parameter].param;
    const int64_t rows = param.file_shape[0];
    const auto most = static_cast<int64_t>(std::max<size_t>(UploadLanes::kTransfer / written.row_bytes(), 1));
    for (int64_t begin = 0; begin < rows; begin += most) {
      all.push_back({&param, &written, begin, std::min(most, rows - begin)});
    }
  };
  for (const auto& [parameter, merged] : now_) {
    if (!next.contains(parameter)) add(parameter, *merged.base);
  }
  for (const auto& [parameter, new_values] : values) add(parameter, new_values);
  return all;
}

UploadLanes MergedParams::lanes_for(const MergedValues& values, const MergedSet& next) const {
  const std::vector<Transfer> all = transfers(values, next);
  size_t most = 0;
  for (const Transfer& each : all) most = std::max(most, each.values->rows(each.begin, each.count).size());
  return {ops_.runtime(), most, all.size()};
}

// Of a parameter with a master, that: the weight follows with MergedWeights.
size_t MergedParams::publish(const MergedValues& values, MergedSet&& next, UploadLanes& lanes) {
  const std::vector<Transfer> all = transfers(values, next);
  size_t bytes = 0;
  const auto fill = [&](size_t i, std::byte* target) {
    const auto rows = all[i].values->rows(all[i].begin, all[i].count);
    std::ranges::copy(rows, target);
    return rows.size();
  };
  const auto place = [&](size_t i, std::byte* arrived) {
    const auto& [param, written, begin, count] = all[i];
    const Tensor rows = param->base().slice(0, begin, begin + count);
    ops_.copy({.x = Tensor(arrived, rows.dtype(), rows.shape()), .y = rows});
    bytes += written->rows(begin, count).size();
    if (begin > 0 || written->scales().empty()) return;
    const auto scales = std::as_bytes(written->scales());
    ops_.runtime().copy(param->scale.raw(), scales.data(), scales.size(), CopyKind::host_to_device);
    bytes += scales.size();
  };
  if (!all.empty()) {
    lanes.run(all.size(), fill, place);
    ops_.runtime().synchronize();  // the copies of scales too
  }
  now_ = std::move(next);
  return bytes;
}

}  // namespace fx
