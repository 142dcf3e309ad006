#include "lora/target.h"

namespace fx {
namespace {

std::string full_name(Component component, std::string_view canonical) {
  return std::string(name(component)) + "/" + std::string(canonical);
}

}  // namespace

void AdapterTarget::add(Component component, const NameMap& names, ParamStore& store) {
  names_[component] = &names;
  for (LoraSlot& slot : store.slots()) {
    by_name_.emplace(full_name(component, slot.module), slots_.size());
    slots_.push_back({component, &slot, &store.runtime()});
  }
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
  const auto found = by_name_.find(full_name(component, canonical));
  return found == by_name_.end() ? std::nullopt : std::optional(found->second);
}

const NameMap* AdapterTarget::names(Component component) const {
  const auto found = names_.find(component);
  return found == names_.end() ? nullptr : found->second;
}

}  // namespace fx
