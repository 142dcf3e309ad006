#include "lora/apply/block_weights.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "lora/messages.h"

namespace fx {
namespace {

bool names(const BlockWeight& weight, Component component, const std::string& module) {
  return matches_glob(weight.pattern, module) ||
         matches_glob(weight.pattern, std::string(name(component)) + "." + module);
}

bool covers(const RowRange& range, int64_t row) {
  return range.whole() || (range.begin <= row && row < range.begin + range.count);
}

}  // namespace

BlockWeights::BlockWeights(std::span<const BlockWeight> weights, const AdapterTarget& target)
    : weights_(weights), target_(&target), used_(weights.size()) {}

std::vector<WeightedRows> BlockWeights::divide(Component component, std::string_view module, const RowRange& rows) {
  if (weights_.empty()) return {{rows, 1.0f}};
  const std::span<const ModuleAlias> aliases = target_->aliases(component, module);
  const int64_t end = rows.begin + rows.count;
  std::set<int64_t> cuts = {rows.begin};
  for (const ModuleAlias& alias : aliases) {
    for (const int64_t cut : {alias.rows.begin, alias.rows.begin + alias.rows.count}) {
      if (!alias.rows.whole() && rows.begin < cut && cut < end) cuts.insert(cut);
    }
  }
  std::vector<WeightedRows> divided;
  for (const int64_t cut : cuts) {
    const float here = factor(component, aliases, cut);
    if (divided.empty() || divided.back().factor != here) divided.push_back({{cut, 0}, here});
    divided.back().rows.count = end - divided.back().rows.begin;
    if (divided.size() > 1) {
      RowRange& before = divided[divided.size() - 2].rows;
      before.count = divided.back().rows.begin - before.begin;
    }
  }
  return divided;
}

float BlockWeights::factor(Component component, std::span<const ModuleAlias> aliases, int64_t row) {
  for (size_t i = 0; i < weights_.size(); ++i) {
    const bool found = std::ranges::any_of(aliases, [&](const ModuleAlias& alias) {
      return covers(alias.rows, row) && names(weights_[i], component, alias.name);
    });
    if (!found) continue;
    used_[i] = true;
    return weights_[i].factor;
  }
  return 1.0f;
}

void BlockWeights::require_known(std::string_view adapter) const {
  for (size_t i = 0; i < weights_.size(); ++i) {
    const bool known = used_[i] || target_->any_alias([&](Component component, const ModuleAlias& alias) {
      return names(weights_[i], component, alias.name);
    });
    check(known, ErrorCode::invalid_argument, "adapter {}: the block weight {} names no module of this model", adapter,
          in_quotes(weights_[i].pattern));
  }
}

}  // namespace fx
