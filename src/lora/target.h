// What adapters are read against: the adaptable linear layers and the parameters of the loaded models, and the names by
// which files call them.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lora/adapter.h"
#include "nn/params.h"

namespace fx {

// The place of a module of a file in the model.
struct ModulePlace {
  size_t slot = 0;               // index into AdapterTarget::slots()
  RowRange rows;                 // of the slot's layer; count >= 1
  bool exchange_halves = false;  // the file has the two halves of B's rows in the other order
};

// One of the names of a module, or of some rows of a fused one.
struct ModuleAlias {
  std::string name;
  RowRange rows;  // whole() for all of them
};

// "double_blocks.0.img_attn.qkv" of "double_blocks.0.img_attn.qkv.weight".
std::string_view module_of(std::string_view parameter);

// The unquantised values of some rows of a parameter, from the model's file. Called by any thread.
using BaseReader = std::function<std::vector<float>(const Param&, const RowRange&)>;

class AdapterTarget {
 public:
  struct Slot {
    Component component;
    LoraSlot* slot;
    Runtime* runtime;
  };
  struct Parameter {
    Component component;
    const Param* param;
    Runtime* runtime;
    BaseReader read_base;  // may be empty
  };

  // Takes in all slots and parameters of a model. `names` and `store` must outlive the target; all layers are declared by now.
  // Components that are not added are unknown: an adapter's patches on them are reported as unmatched. `read_base` is
  // needed where parameters are quantised and something is to be merged into them.
  void add(Component component, const NameMap& names, ParamStore& store, const BaseReader& read_base = nullptr);

  // A module by the name that a file gives it, without the component's prefix. Nothing when the model has no such
  // linear layer.
  std::optional<ModulePlace> find(Component component, std::string_view module) const;

  // By canonical name.
  std::optional<size_t> find_slot(Component component, std::string_view canonical) const;

  // Any parameter of a component by its canonical name ("double_blocks.0.img_attn.qkv.weight", "....bias", a norm's
  // "....scale"); nullptr when the model has none of that name.
  const Param* find_parameter(Component component, std::string_view canonical) const;
  // Its index in parameters().
  std::optional<size_t> find_parameter_index(Component component, std::string_view canonical) const;

  // The names of a module that has parameters: its canonical one, and those that the name map knows.
  std::span<const ModuleAlias> aliases(Component component, std::string_view module) const;
  // Whether `accept` is true for any of them.
  bool any_alias(const std::function<bool(Component, const ModuleAlias&)>& accept) const;

  // All slots and all parameters, in a fixed order.
  const std::vector<Slot>& slots() const { return slots_; }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  bool has(Component component) const { return names_.contains(component); }
  // See ParamStore.
  void exchange_weight_sets() const;
  // nullptr for a component that was not added.
  const NameMap* names(Component component) const;

 private:
  std::map<Component, const NameMap*> names_;
  std::vector<ParamStore*> stores_;
  std::vector<Slot> slots_;
  std::vector<Parameter> parameters_;
  std::unordered_map<std::string, size_t> by_name_;  // "transformer/double_blocks.0.img_attn.qkv"
  std::unordered_map<std::string, size_t> parameter_by_name_;
  std::map<Component, std::unordered_map<std::string, std::vector<ModuleAlias>>> aliases_;  // by canonical module
};

}  // namespace fx
