#include "lora/write/diffusers_names.h"

#include <algorithm>

namespace fx {
namespace {

constexpr std::string_view kSuffixes[] = {".weight", ".bias"};

template <class Parts, class Map>
void add_all(Parts& parts, const Map& map) {
  for (const auto& [source, target] : map) {
    if (source != target.name) parts[target.name].push_back({source, target.rows, target.exchange_halves});
  }
}

}  // namespace

DiffusersNames::DiffusersNames(const AdapterTarget& target) {
  for (const Component component : {Component::transformer, Component::text_encoder, Component::text_encoder_2}) {
    const NameMap* names = target.names(component);
    if (!names) continue;
    add_all(modules_[component], names->modules());
    add_all(parameters_[component], names->parameters());
  }
}

std::vector<DiffusersPart> DiffusersNames::parts(Component component, std::string_view parameter, int64_t rows) const {
  std::vector<DiffusersPart> found;
  const auto look_up = [&](const std::map<Component, Parts>& all, std::string_view name, std::string_view suffix) {
    const auto parts = all.find(component);
    const auto entry = parts == all.end() ? Parts::const_iterator() : parts->second.find(name);
    if (parts == all.end() || entry == parts->second.end()) return;
    for (const DiffusersPart& part : entry->second) {
      found.push_back(
          {part.name + std::string(suffix), part.rows.whole() ? RowRange{0, rows} : part.rows, part.exchange_halves});
    }
  };
  look_up(parameters_, parameter, "");
  for (const std::string_view suffix : kSuffixes) {
    if (found.empty() && parameter.ends_with(suffix)) {
      look_up(modules_, parameter.substr(0, parameter.size() - suffix.size()), suffix);
    }
  }
  if (found.empty()) found.push_back({std::string(parameter), {0, rows}});
  std::ranges::sort(found, {}, [](const DiffusersPart& part) { return part.rows.begin; });
  return found;
}

void exchange_halves(std::vector<float>& values) {
  const auto half = static_cast<ptrdiff_t>(values.size() / 2);
  std::swap_ranges(values.begin(), values.begin() + half, values.begin() + half);
}

}  // namespace fx
