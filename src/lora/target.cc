#include "lora/target.h"

namespace fx {
namespace {

std::string full_name(Component component, std::string_view canonical) {
  return std::string(name(component)) + "/" + std::string(canonical);
}

std::optional<size_t> look_up(const std::unordered_map<std::string, size_t>& map, const std::string& key) {
  const auto found = map.find(key);
  return found == map.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace

std::string_view module_of(std::string_view parameter) { return parameter.substr(0, parameter.rfind('.')); }

void AdapterTarget::add(Component component, const NameMap& names, ParamStore& store, const BaseReader& read_base) {
  names_[component] = &names;
  stores_.push_back(&store);
  for (LoraSlot& slot : store.slots()) {
    by_name_.emplace(full_name(component, slot.module), slots_.size());
    slots_.push_back({component, &slot, &store.runtime()});
  }
  for (const Param& param : store.params()) {
    parameter_by_name_.emplace(full_name(component, param.name), parameters_.size());
    parameters_.push_back({component, &param, &store.runtime(), read_base});
    const std::string module(module_of(param.name));
    if (auto& own = aliases_[component][module]; own.empty()) own.push_back({module, {}});
  }
  const auto add_aliases = [&](const auto& sources, auto module_name) {
    for (const auto& [source, target] : sources) {
      const auto own = aliases_[component].find(std::string(module_name(target.name)));
      const std::string alias(module_name(source));
      if (own != aliases_[component].end() && alias != own->first) own->second.push_back({alias, target.rows});
    }
  };
  add_aliases(names.modules(), [](std::string_view module) { return module; });
  add_aliases(names.parameters(), module_of);
}

void AdapterTarget::exchange_weight_sets() const {
  for (ParamStore* store : stores_) store->exchange_weight_sets();
}

std::optional<ModulePlace> AdapterTarget::find(Component component, std::string_view module) const {
  const NameMap* map = names(component);
  const auto target = map ? map->module(module) : std::nullopt;
  const auto slot = target ? find_slot(component, target->name) : std::nullopt;
  if (!slot) return std::nullopt;
  const RowRange rows = target->rows.whole() ? RowRange{0, slots_[*slot].slot->out} : target->rows;
  return ModulePlace{*slot, rows, target->exchange_halves};
}

std::optional<size_t> AdapterTarget::find_slot(Component component, std::string_view canonical) const {
  return look_up(by_name_, full_name(component, canonical));
}

std::optional<size_t> AdapterTarget::find_parameter_index(Component component, std::string_view canonical) const {
  return look_up(parameter_by_name_, full_name(component, canonical));
}

const Param* AdapterTarget::find_parameter(Component component, std::string_view canonical) const {
  const auto index = find_parameter_index(component, canonical);
  return index ? parameters_[*index].param : nullptr;
}

std::span<const ModuleAlias> AdapterTarget::aliases(Component component, std::string_view module) const {
  const auto modules = aliases_.find(component);
  if (modules == aliases_.end()) return {};
  const auto found = modules->second.find(std::string(module));
  return found == modules->second.end() ? std::span<const ModuleAlias>() : found->second;
}

bool AdapterTarget::any_alias(const std::function<bool(Component, const ModuleAlias&)>& accept) const {
  for (const auto& [component, modules] : aliases_) {
    for (const auto& [module, aliases] : modules) {
      for (const ModuleAlias& alias : aliases) {
        if (accept(component, alias)) return true;
      }
    }
  }
  return false;
}

const NameMap* AdapterTarget::names(Component component) const {
  const auto found = names_.find(component);
  return found == names_.end() ? nullptr : found->second;
}

}  // namespace fx
