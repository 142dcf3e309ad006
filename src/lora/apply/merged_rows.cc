#include "lora/apply/merged_rows.h"

#include <algorithm>

#include "lora/delta.h"

namespace fx {
namespace {

DensePatch patch_of(const MergePart& part) {
  if (const auto* low_rank = std::get_if<const Patch*>(&part.source)) return as_dense(**low_rank);
  DensePatch patch = *std::get<const DensePatch*>(part.source);
  // As a difference from nothing it is the file's values exactly; base + (value - base) need not be.
  patch.replaces = false;
  return patch;
}

bool is_replacement(const MergePart& part) {
  const auto* dense = std::get_if<const DensePatch*>(&part.source);
  return dense && (*dense)->replaces;
}

}  // namespace

MergedRows::Part::Part(const MergePart& part, int64_t in, const BaseRows& base)
    : patch(patch_of(part)),
      rows(part.rows),
      replaces(is_replacement(part)),
      change(patch, in, replaces ? 1.0f : part.strength, [&](int64_t begin, int64_t count, float* target) {
        if (replaces) std::fill_n(target, count * in, 0.0f);
        else base(patch.rows.begin + begin, count, target);
      }) {}

MergedRows::MergedRows(const std::vector<MergePart>& parts, int64_t in, BaseRows base)
    : in_(in), base_(std::move(base)) {
  for (const bool replacements : {true, false}) {
    for (const MergePart& part : parts) {
      if (is_replacement(part) == replacements) parts_.emplace_back(part, in_, base_);
    }
  }
}

void MergedRows::read(int64_t begin, int64_t count, float* target, Room& room) const {
  room.base.resize(static_cast<size_t>(count * in_));
  base_(begin, count, room.base.data());
  std::ranges::copy(room.base, target);
  for (const Part& part : parts_) apply(part, {begin, count}, target, room);
}

void MergedRows::apply(const Part& part, const RowRange& block, float* target, Room& room) const {
  const int64_t begin = std::max(block.begin, part.rows.begin);
  const int64_t count = std::min(block.begin + block.count, part.rows.begin + part.rows.count) - begin;
  if (count <= 0) return;
  const int64_t skipped = (begin - block.begin) * in_;
  room.delta.resize(static_cast<size_t>(count * in_));
  if (part.replaces) room.nothing.resize(room.delta.size());
  const float* base = part.replaces ? room.nothing.data() : room.base.data() + skipped;
  part.change.read(begin - part.patch.rows.begin, count, base, room.delta.data(), room.changed);
  float* rows = target + skipped;
  if (part.replaces) {
    std::ranges::copy(room.delta, rows);
  } else {
    for (const float delta : room.delta) *rows++ += delta;
  }
}

}  // namespace fx
