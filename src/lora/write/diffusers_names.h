// Back from canonical names to those of diffusers: what writers of files need.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lora/target.h"

namespace fx {

// A parameter of diffusers and its place in the canonical one.
struct DiffusersPart {
  std::string name;              // "transformer_blocks.0.attn.to_q.weight"
  RowRange rows;                 // of the canonical parameter; count >= 1
  bool exchange_halves = false;  // diffusers has the two halves of the rows in the other order
};

class DiffusersNames {
 public:
  // Components that the target does not have keep the names of their published files.
  explicit DiffusersNames(const AdapterTarget& target);

  // The parts of a canonical parameter of so many rows, in the order of their rows. Together they are all of it.
  std::vector<DiffusersPart> parts(Component component, std::string_view parameter, int64_t rows) const;

 private:
  using Parts = std::map<std::string, std::vector<DiffusersPart>, std::less<>>;  // by canonical name
  std::map<Component, Parts> modules_, parameters_;
};

// The values of a part in diffusers' order of rows. `values` are those of the part, (rows, columns), in canonical order.
void exchange_halves(std::vector<float>& values);

}  // namespace fx
