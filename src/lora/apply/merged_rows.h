// A parameter with adapters merged into it, some rows at a time.
#pragma once

#include <deque>
#include <vector>

#include "lora/apply/parts.h"
#include "lora/patch_change.h"

namespace fx {

// base + the parts' differences, added up in f32 in their order. A part that replaces its rows puts its values there first,
// wherever it stands.
class MergedRows {
 public:
  // Parts of a parameter with `in` values a row, whose rows without adapters `base` reads.
  MergedRows(const std::vector<MergePart>& parts, int64_t in, BaseRows base);
  MergedRows(const MergedRows&) = delete;
  MergedRows& operator=(const MergedRows&) = delete;

  // For what is in between: to be used again for the next rows, as the system takes its time to hand out memory.
  struct Room {
    std::vector<float> base, nothing, delta;
    std::vector<double> changed;
  };
  // Rows [begin, begin + count) to `target`. Thread-safe, with a room for each thread.
  void read(int64_t begin, int64_t count, float* target, Room& room) const;

 private:
  struct Part {
    Part(const MergePart& part, int64_t in, const BaseRows& base);
    DensePatch patch;
    RowRange rows;  // of the parameter, within the patch's
    bool replaces;
    PatchChange change;
  };
  void apply(const Part& part, const RowRange& block, float* target, Room& room) const;

  int64_t in_;
  BaseRows base_;
  std::deque<Part> parts_;  // they do not move
};

}  // namespace fx
