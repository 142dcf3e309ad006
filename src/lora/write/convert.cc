#include "lora/write/convert.h"

#include <algorithm>
#include <set>
#include <utility>

#include "core/error.h"
#include "io/safetensors.h"
#include "lora/write/diffusers_names.h"

namespace fx {
namespace {

constexpr std::string_view kWeight = ".weight";

// Rows of the layer that a patch is for. Of a component that the target does not have, the file alone tells.
int64_t out_of(const Patch& patch, const AdapterTarget& target) {
  if (!target.has(patch.component)) return patch.rows.begin + patch.rows.count;
  const auto slot = target.find_slot(patch.component, patch.module);
  check(slot.has_value(), ErrorCode::invalid_argument, "the model has no layer {} in its {}", patch.module,
        name(patch.component));
  return target.slots()[*slot].slot->out;
}

// Appends the part of a patch that falls into `rows`: ranks are stacked, rows that the patch leaves alone are zero.
void append(DiffusersModule& module, const Patch& patch, const RowRange& rows) {
  const int64_t first = std::max(rows.begin, patch.rows.begin);
  const int64_t last = std::min(rows.begin + rows.count, patch.rows.begin + patch.rows.count);
  const int64_t rank = module.rank + patch.rank();
  const std::vector<float> patch_a = patch.a.values(), patch_b = patch.b.values();
  std::vector<float> b(static_cast<size_t>(rows.count * rank), 0.0f);
  for (int64_t row = 0; row < rows.count && module.rank > 0; ++row) {
    std::copy_n(module.b.begin() + row * module.rank, module.rank, b.begin() + row * rank);
  }
  for (int64_t row = first; row < last; ++row) {
    const float* source = patch_b.data() + (row - patch.rows.begin) * patch.rank();
    float* target = b.data() + (row - rows.begin) * rank + module.rank;
    for (int64_t i = 0; i < patch.rank(); ++i) target[i] = patch.scale * source[i];
  }
  module.a.insert(module.a.end(), patch_a.begin(), patch_a.end());
  module.b = std::move(b);
  module.rank = rank;
  module.in = patch.in();
  module.out = rows.count;
}

// Without the ranks that add nothing, because their column of B is zero. May leave none.
DiffusersModule without_idle_ranks(const DiffusersModule& module) {
  std::set<int64_t> used;
  for (size_t i = 0; i < module.b.size(); ++i) {
    if (module.b[i] != 0.0f) used.insert(static_cast<int64_t>(i) % module.rank);
  }
  DiffusersModule result{.rank = static_cast<int64_t>(used.size()), .in = module.in, .out = module.out};
  for (const int64_t rank : used) {
    const auto row = module.a.begin() + rank * module.in;
    result.a.insert(result.a.end(), row, row + module.in);
  }
  for (int64_t row = 0; row < module.out; ++row) {
    for (const int64_t rank : used) result.b.push_back(module.b[static_cast<size_t>(row * module.rank + rank)]);
  }
  return result;
}

bool overlap(const RowRange& x, const RowRange& y) {
  return x.begin < y.begin + y.count && y.begin < x.begin + x.count;
}

void expect_low_rank(const Adapter& adapter) {
  std::map<std::string_view, size_t> kinds;
  for (const DensePatch& patch : adapter.dense) ++kinds[patch.kind];
  std::string list;
  for (const auto& [kind, count] : kinds) list += fmt::format("{}{} ({})", list.empty() ? "" : ", ", kind, count);
  check(kinds.empty(), ErrorCode::unsupported,
        "{}: expected an adapter that is exactly low-rank, found {}; --dense writes the differences themselves",
        adapter.path.string(), list);
}

std::map<std::string, std::string> kept_metadata(const Adapter& adapter) {
  std::map<std::string, std::string> metadata = adapter.report.metadata;
  for (const char* field : {"lora_adapter_metadata", "ss_network_alpha", "ss_network_dim"}) metadata.erase(field);
  metadata["format"] = "pt";
  return metadata;
}

// All modules, with all their ranks.
std::map<std::string, DiffusersModule> split(const Adapter& adapter, const AdapterTarget& target) {
  const DiffusersNames names(target);
  // Parts of one module are stacked in the order of their rows, not of the file.
  std::vector<const Patch*> patches;
  for (const Patch& patch : adapter.patches) patches.push_back(&patch);
  std::ranges::stable_sort(patches, {}, [](const Patch* patch) { return patch->rows.begin; });
  std::map<std::string, DiffusersModule> modules;
  std::set<std::string> exchanged;
  for (const Patch* patch : patches) {
    const std::string weight = patch->module + std::string(kWeight);
    for (const DiffusersPart& part : names.parts(patch->component, weight, out_of(*patch, target))) {
      if (!overlap(part.rows, patch->rows)) continue;
      std::string full = std::string(name(patch->component)) + "." + part.name;
      full.resize(full.size() - kWeight.size());
      append(modules[full], *patch, part.rows);
      if (part.exchange_halves) exchanged.insert(full);
    }
  }
  for (const std::string& full : exchanged) exchange_halves(modules.at(full).b);
  return modules;
}

}  // namespace

std::map<std::string, DiffusersModule> to_diffusers(const Adapter& adapter, const AdapterTarget& target) {
  expect_low_rank(adapter);
  const std::map<std::string, DiffusersModule> all = split(adapter, target);
  std::map<std::string, DiffusersModule> modules;
  for (const auto& [full, module] : all) {
    DiffusersModule used = without_idle_ranks(module);
    if (used.rank > 0) modules.emplace(full, std::move(used));
  }
  return modules.empty() ? all : modules;
}

Conversion write_diffusers_adapter(const std::filesystem::path& path, const Adapter& adapter,
                                   const AdapterTarget& target, DType dtype) {
  const auto modules = to_diffusers(adapter, target);
  Conversion done{.modules = modules.size()};
  std::vector<SafetensorsWriter::Entry> entries;
  for (const auto& [full, module] : modules) {
    entries.push_back({full + ".lora_A.weight", dtype, {module.rank, module.in}});
    entries.push_back({full + ".lora_B.weight", dtype, {module.out, module.rank}});
  }
  for (const auto& entry : entries) done.tensors[entry.name] = entry.shape;
  SafetensorsWriter writer(path, entries, kept_metadata(adapter));
  std::vector<std::byte> bytes;
  for (const auto& [full, module] : modules) {
    for (const std::vector<float>* values : {&module.a, &module.b}) {
      bytes.resize(values->size() * size_of(dtype));
      convert_from_f32(values->data(), dtype, bytes.data(), values->size());
      writer.write(bytes);
    }
  }
  writer.commit();
  return done;
}

}  // namespace fx
