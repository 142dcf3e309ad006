#include "lora/apply/parts.h"

#include <algorithm>

#include "core/error.h"
#include "lora/apply/block_weights.h"
#include "lora/delta.h"

namespace fx {
namespace {

bool within(const RowRange& rows, int64_t count) {
  return rows.begin >= 0 && rows.count > 0 && rows.begin + rows.count <= count;
}

// The parts of one adapter.
class AdapterPlan {
 public:
  // by_device: low-rank parts are merged there, from masters (see merged_weights.h). Layers without one then keep theirs
  // beside the weight, asked to merge or not: they run once a picture or are small, while merging by the host takes long.
  AdapterPlan(const AppliedAdapter& applied, bool acting, bool by_device, const AdapterTarget& target,
              AdapterParts& parts)
      : adapter_(*applied.adapter),
        settings_(applied.settings),
        acting_(acting),
        by_device_(by_device),
        target_(target),
        parts_(parts),
        blocks_(applied.settings.blocks, target) {}

  void add_all() {
    for (const Patch& patch : adapter_.patches) add(patch);
    for (const DensePatch& patch : adapter_.dense) add(patch);
    blocks_.require_known(adapter_.name);
  }

 private:
  void expect(bool fits, Component component, const std::string& place) const {
    check(fits, ErrorCode::invalid_argument, "adapter {}: its part for {} of the {} was read for another model",
          adapter_.name, place, name(component));
  }

  bool acts(Component component) const {
    return component == Component::transformer ? acting_ : !settings_.steps.empty();
  }
  float strength(Component component) const { return acts(component) ? settings_.scale_for(component) : 0.0f; }
  // At the border of a range, new scales are enough; that is worth more than no cost in between.
  bool merges(Component component) const {
    return settings_.merge && !by_device_ && (component != Component::transformer || settings_.steps.whole());
  }

  void add(const Patch& patch) {
    const auto slot = target_.find_slot(patch.component, patch.module);
    const LoraSlot* layer = slot ? target_.slots()[*slot].slot : nullptr;
    expect(layer && layer->in == patch.in() && within(patch.rows, layer->out), patch.component, patch.module);
    if (merges(patch.component)) {
      const auto index = target_.find_parameter_index(patch.component, patch.module + ".weight");
      expect(index.has_value(), patch.component, patch.module);
      return merge(*index, &patch, patch.component, patch.module, patch.rows);
    }
    for (const auto& [rows, factor] : blocks_.divide(patch.component, patch.module, patch.rows)) {
      parts_.slots[*slot].push_back({&patch, rows, patch.scale * strength(patch.component) * factor});
    }
  }

  void add(const DensePatch& patch) {
    const auto index = target_.find_parameter_index(patch.component, patch.parameter);
    const Param* param = index ? target_.parameters()[*index].param : nullptr;
    expect(param && param->layout == ParamLayout::as_stored && param->file_shape.rank() <= 2 &&
               within(patch.rows, param->file_shape[0]),
           patch.component, patch.parameter);
    check_fits(patch, param->columns());
    const std::string_view module = module_of(patch.parameter);
    merge(*index, &patch, patch.component, module, patch.rows);
  }

  template <class PatchType>
  void merge(size_t parameter, const PatchType* patch, Component component, std::string_view module,
             const RowRange& all_rows) {
    for (const auto& [rows, factor] : blocks_.divide(component, module, all_rows)) {
      const float strength = this->strength(component) * factor;
      if (strength != 0) parts_.parameters[parameter].push_back({patch, rows, strength});
    }
  }

  const Adapter& adapter_;
  const AdapterSettings& settings_;
  bool acting_, by_device_;
  const AdapterTarget& target_;
  AdapterParts& parts_;
  BlockWeights blocks_;
};

}  // namespace

Acting acting_at(const AdapterSet& adapters, int step, int steps) {
  Acting acting;
  for (const AppliedAdapter& applied : adapters) acting.push_back(applied.settings.steps.contains(step, steps));
  return acting;
}

Acting acting_ever(const AdapterSet& adapters) {
  Acting acting;
  for (const AppliedAdapter& applied : adapters) acting.push_back(!applied.settings.steps.empty());
  return acting;
}

AdapterParts parts_of(const AdapterSet& adapters, const Acting& acting, const AdapterTarget& target) {
  AdapterParts parts{.slots = std::vector<std::vector<SlotPart>>(target.slots().size())};
  const bool by_device = std::ranges::any_of(
      target.slots(), [](const AdapterTarget::Slot& slot) { return slot.slot->weight->master.defined(); });
  for (size_t i = 0; i < adapters.size(); ++i) {
    check(adapters[i].adapter != nullptr, ErrorCode::invalid_argument, "an applied adapter is missing");
    validate(adapters[i].settings, adapters[i].adapter->name);
    AdapterPlan(adapters[i], acting[i], by_device, target, parts).add_all();
  }
  return parts;
}

}  // namespace fx
