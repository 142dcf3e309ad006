// The differences that an adapter makes, parameter by parameter.
#include <algorithm>

#include "core/error.h"
#include "io/safetensors.h"
#include "lora/delta.h"
#include "lora/patch_change.h"
#include "lora/write/convert.h"
#include "lora/write/diffusers_names.h"

namespace fx {
namespace {

// A canonical parameter with all that changes it.
struct Change {
  Component component;
  std::string parameter;
  int64_t rows = 0, columns = 0;
  bool matrix = true;  // (rows, columns); else (rows)
  std::vector<DensePatch> patches;
  std::vector<DiffusersPart> parts;  // those that are changed
};

bool overlap(const RowRange& x, const RowRange& y) {
  return x.begin < y.begin + y.count && y.begin < x.begin + x.count;
}

// As the model has it or, where the model does not have the component, as the patches need it.
void find_shape(Change& change, const AdapterTarget& target) {
  for (const DensePatch& patch : change.patches) {
    change.rows = std::max(change.rows, patch.rows.begin + patch.rows.count);
    const auto shape = shape_of(patch.delta);
    change.matrix = shape && change.parameter.ends_with(".weight") && shape->rows == patch.rows.count;
    change.columns = change.matrix ? shape->columns : 1;
  }
  if (!target.has(change.component)) return;
  const Param* param = target.find_parameter(change.component, change.parameter);
  check(param, ErrorCode::invalid_argument, "the model has no parameter {} in its {}", change.parameter,
        name(change.component));
  change.matrix = param->file_shape.rank() == 2;
  change.rows = param->file_shape[0];
  change.columns = change.matrix ? param->file_shape[1] : 1;
}

std::vector<Change> changes_of(const Adapter& adapter, const AdapterTarget& target) {
  std::map<std::pair<Component, std::string>, std::vector<DensePatch>> by_parameter;
  for (const Patch& patch : adapter.patches) {
    DensePatch dense = as_dense(patch);
    by_parameter[{dense.component, dense.parameter}].push_back(std::move(dense));
  }
  for (const DensePatch& patch : adapter.dense) by_parameter[{patch.component, patch.parameter}].push_back(patch);
  const DiffusersNames names(target);
  std::vector<Change> changes;
  for (auto& [place, patches] : by_parameter) {
    Change change{.component = place.first, .parameter = place.second, .patches = std::move(patches)};
    find_shape(change, target);
    change.parts = names.parts(change.component, change.parameter, change.rows);
    std::erase_if(change.parts, [&](const DiffusersPart& part) {
      return std::ranges::none_of(change.patches, [&](const auto& patch) { return overlap(part.rows, patch.rows); });
    });
    changes.push_back(std::move(change));
  }
  return changes;
}

std::vector<SafetensorsWriter::Entry> entries_of(const std::vector<Change>& changes) {
  std::vector<SafetensorsWriter::Entry> entries;
  for (const Change& change : changes) {
    const std::string prefix =
        change.component == Component::transformer ? "" : std::string(name(change.component)) + ".";
    for (const DiffusersPart& part : change.parts) {
      const Shape shape = change.matrix ? Shape{part.rows.count, change.columns} : Shape{part.rows.count};
      entries.push_back({prefix + part.name, DType::f32, shape});
    }
  }
  return entries;
}

// The rows that a patch changes, or zeros where they do not matter.
std::vector<float> base_rows(const Change& change, const DensePatch& patch,
                             const std::map<Component, BaseWeights>& bases) {
  if (!patch.magnitude && !patch.replaces) {
    return std::vector<float>(static_cast<size_t>(patch.rows.count * change.columns));
  }
  const auto base = bases.find(change.component);
  check(base != bases.end(), ErrorCode::unsupported,
        "{} of the {} is changed relative to its weight ({}), and the model folder has no weights of the {}",
        change.parameter, name(change.component), patch.kind, name(change.component));
  return base->second.rows(change.parameter, patch.rows);
}

// (rows, columns) of the whole canonical parameter.
std::vector<float> difference(const Change& change, const std::map<Component, BaseWeights>& bases) {
  std::vector<float> sum(static_cast<size_t>(change.rows * change.columns), 0.0f);
  for (const DensePatch& patch : change.patches) {
    const std::vector<float> delta = effective_delta(patch, base_rows(change, patch, bases), change.columns, 1.0f);
    float* target = sum.data() + patch.rows.begin * change.columns;
    for (size_t i = 0; i < delta.size(); ++i) target[i] += delta[i];
  }
  return sum;
}

void write_parts(SafetensorsWriter& writer, const Change& change, const std::vector<float>& values) {
  for (const DiffusersPart& part : change.parts) {
    const auto begin = values.begin() + part.rows.begin * change.columns;
    std::vector<float> rows(begin, begin + part.rows.count * change.columns);
    if (part.exchange_halves) exchange_halves(rows);
    writer.write(std::as_bytes(std::span(rows)));
  }
}

}  // namespace

Conversion write_parameter_deltas(const std::filesystem::path& path, const Adapter& adapter,
                                  const AdapterTarget& target, const std::map<Component, BaseWeights>& bases) {
  const std::vector<Change> changes = changes_of(adapter, target);
  const std::vector<SafetensorsWriter::Entry> entries = entries_of(changes);
  Conversion done{.modules = entries.size()};
  for (const auto& entry : entries) done.tensors[entry.name] = entry.shape;
  SafetensorsWriter writer(path, entries, {{"format", "pt"}});
  for (const Change& change : changes) write_parts(writer, change, difference(change, bases));
  writer.commit();
  return done;
}

}  // namespace fx
