#include "lora/convert.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "io/safetensors.h"

namespace fx {
namespace {

// A diffusers module and the rows of the canonical one that it stands for.
struct Source {
  std::string name;
  RowRange rows;  // count >= 1
  bool exchange_halves;
};

// The diffusers modules that make up a canonical one; the module itself where names agree (text encoders).
std::vector<Source> sources_of(const NameMap& names, const std::string& canonical, int64_t out) {
  std::vector<Source> sources;
  for (const auto& [source, target] : names.modules()) {
    if (target.name != canonical || source == canonical) continue;
    sources.push_back({source, target.rows.whole() ? RowRange{0, out} : target.rows, target.exchange_halves});
  }
  if (sources.empty()) sources.push_back({canonical, {0, out}, false});
  return sources;
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

bool overlap(const RowRange& x, const RowRange& y) {
  return x.begin < y.begin + y.count && y.begin < x.begin + x.count;
}

Tensor rounded(const std::vector<float>& values, const Shape& shape, DType dtype, std::vector<std::byte>& storage) {
  storage.resize(values.size() * size_of(dtype));
  convert_from_f32(values.data(), dtype, storage.data(), values.size());
  return Tensor(storage.data(), dtype, shape);
}

std::map<std::string, std::string> kept_metadata(const Adapter& adapter) {
  std::map<std::string, std::string> metadata = adapter.report.metadata;
  for (const char* field : {"lora_adapter_metadata", "ss_network_alpha", "ss_network_dim"}) metadata.erase(field);
  metadata["format"] = "pt";
  return metadata;
}

}  // namespace

std::map<std::string, DiffusersModule> to_diffusers(const Adapter& adapter, const AdapterTarget& target) {
  std::map<std::string, DiffusersModule> modules;
  std::map<std::string, bool> exchanged;
  for (const Patch& patch : adapter.patches) {
    const auto slot = target.find_slot(patch.component, patch.module);
    check(slot.has_value(), ErrorCode::invalid_argument, "adapter {}: the model has no layer {} in its {}",
          adapter.name, patch.module, name(patch.component));
    const int64_t out = target.slots()[*slot].slot->out;
    for (const Source& source : sources_of(*target.names(patch.component), patch.module, out)) {
      if (!overlap(source.rows, patch.rows)) continue;
      const std::string full = std::string(name(patch.component)) + "." + source.name;
      append(modules[full], patch, source.rows);
      exchanged[full] = source.exchange_halves;
    }
  }
  for (auto& [full, module] : modules) {
    const auto half = static_cast<ptrdiff_t>(module.b.size() / 2);
    if (exchanged[full]) std::swap_ranges(module.b.begin(), module.b.begin() + half, module.b.begin() + half);
  }
  return modules;
}

void write_diffusers_adapter(const std::filesystem::path& path, const Adapter& adapter, const AdapterTarget& target,
                             DType dtype) {
  std::map<std::string, Tensor> tensors;
  std::vector<std::vector<std::byte>> storage;
  const auto modules = to_diffusers(adapter, target);
  storage.reserve(2 * modules.size());
  for (const auto& [full, module] : modules) {
    tensors[full + ".lora_A.weight"] = rounded(module.a, {module.rank, module.in}, dtype, storage.emplace_back());
    tensors[full + ".lora_B.weight"] = rounded(module.b, {module.out, module.rank}, dtype, storage.emplace_back());
  }
  write_safetensors(path, tensors, kept_metadata(adapter));
}

}  // namespace fx
