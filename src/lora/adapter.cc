#include "lora/adapter.h"

#include <fmt/format.h>

namespace fx {

std::string_view name(Component component) {
  switch (component) {
    case Component::transformer: return "transformer";
    case Component::text_encoder: return "text_encoder";
    case Component::text_encoder_2: return "text_encoder_2";
  }
  return "?";
}

std::string AdapterReport::rank_summary() const {
  if (ranks.empty()) return "none";
  const int64_t least = ranks.begin()->first, most = ranks.rbegin()->first;
  return least == most ? std::to_string(least) : fmt::format("{} to {}", least, most);
}

uint64_t Adapter::bytes() const {
  uint64_t total = 0;
  for (const Patch& patch : patches) total += (patch.a.size() + patch.b.size()) * sizeof(float);
  return total;
}

}  // namespace fx
