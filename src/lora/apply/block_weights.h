// Which rows of a module the block weights of a user touch.
#pragma once

#include <span>
#include <vector>

#include "lora/settings.h"
#include "lora/target.h"

namespace fx {

struct WeightedRows {
  RowRange rows;
  float factor = 1.0f;
  bool operator==(const WeightedRows&) const = default;
};

class BlockWeights {
 public:
  // Both must outlive this.
  BlockWeights(std::span<const BlockWeight> weights, const AdapterTarget& target);

  // `rows` of a module (canonical) with their factors, divided where these change: a fused module has the names of its
  // parts too.
  std::vector<WeightedRows> divide(Component component, std::string_view module, const RowRange& rows);

  // Throws invalid_argument when a pattern names no module of the model. `adapter` opens the message.
  void require_known(std::string_view adapter) const;

 private:
  float factor(Component component, std::span<const ModuleAlias> aliases, int64_t row);

  std::span<const BlockWeight> weights_;
  const AdapterTarget* target_;
  std::vector<bool> used_;  // patterns that have matched something
};

}  // namespace fx
