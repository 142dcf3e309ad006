#include "lora/file/shared_down.h"

#include <algorithm>
#include <tuple>

namespace fx {
namespace {

bool can_follow(const Patch& first, const Patch& second) {
  return first.component == second.component && first.module == second.module &&
         first.rows.begin + first.rows.count == second.rows.begin && first.scale == second.scale &&
         first.b.dtype() == second.b.dtype() && first.a.same_bytes(second.a);
}

Patch joined(const Patch& first, const Patch& second) {
  Patch result = first;
  result.b = first.b.above(second.b);
  result.rows.count += second.rows.count;
  return result;
}

}  // namespace

void join_shared_down(std::vector<Patch>& patches) {
  std::ranges::stable_sort(patches, {}, [](const Patch& patch) {
    return std::tuple(patch.component, std::string_view(patch.module), patch.rows.begin);
  });
  std::vector<Patch> result;
  for (Patch& patch : patches) {
    if (!result.empty() && can_follow(result.back(), patch)) result.back() = joined(result.back(), patch);
    else result.push_back(std::move(patch));
  }
  patches = std::move(result);
}

}  // namespace fx
