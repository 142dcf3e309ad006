#include "weights/name_map.h"

#include <algorithm>

namespace fx {
namespace {

constexpr std::string_view kWeight = ".weight", kBias = ".bias";

// The longest of the known parameter suffixes at the end of `name`, or empty.
std::string_view parameter_suffix(std::string_view name) {
  if (name.ends_with(kWeight)) return kWeight;
  if (name.ends_with(kBias)) return kBias;
  return {};
}

template <class Map>
const NameTarget* look_up(const Map& map, const std::string& prefix, std::string_view name) {
  if (const auto found = map.find(std::string(name)); found != map.end()) return &found->second;
  if (prefix.empty()) return nullptr;
  const auto found = map.find(prefix + std::string(name));
  return found == map.end() ? nullptr : &found->second;
}

// Canonical names are also source names: modules and parameters that map to themselves.
NameMap identity_map(const std::vector<std::string>& parameters) {
  NameMap map;
  for (const std::string& name : parameters) {
    map.add_parameter(name, {name, {}, false});
    if (name.ends_with(kWeight)) {
      const std::string module = name.substr(0, name.size() - kWeight.size());
      map.add_module(module, {module, {}, false});
    }
  }
  return map;
}

}  // namespace

void NameMap::add_module(std::string source, NameTarget target) { modules_.emplace(std::move(source), std::move(target)); }

void NameMap::add_parameter(std::string source, NameTarget target) {
  parameters_.emplace(std::move(source), std::move(target));
}

std::optional<NameTarget> NameMap::module(std::string_view source) const {
  const NameTarget* target = look_up(modules_, optional_prefix_, source);
  return target ? std::optional(*target) : std::nullopt;
}

std::optional<NameTarget> NameMap::parameter(std::string_view source) const {
  if (const NameTarget* target = look_up(parameters_, optional_prefix_, source)) return *target;
  const std::string_view suffix = parameter_suffix(source);
  if (suffix.empty()) return std::nullopt;
  auto target = module(source.substr(0, source.size() - suffix.size()));
  if (target) target->name += suffix;
  return target;
}

bool NameMap::ignored(std::string_view parameter) const {
  return std::ranges::any_of(ignored_suffixes_, [&](const auto& suffix) { return parameter.ends_with(suffix); }) ||
         std::ranges::any_of(ignored_prefixes_, [&](const auto& prefix) { return parameter.starts_with(prefix); });
}

std::optional<std::string> NameMap::tied_to(std::string_view parameter) const {
  const auto found = tied_.find(std::string(parameter));
  return found == tied_.end() ? std::nullopt : std::optional(found->second);
}

NameMap clip_name_map(const std::vector<std::string>& parameters) {
  NameMap map = identity_map(parameters);
  map.set_optional_prefix("text_model.");
  map.ignore_suffix("embeddings.position_ids");
  map.ignore_suffix("text_projection.weight");  // of the contrastive model; the pooled output does not use it
  return map;
}

NameMap t5_name_map(const std::vector<std::string>& parameters) {
  NameMap map = identity_map(parameters);
  map.add_tied("encoder.embed_tokens.weight", "shared.weight");
  return map;
}

NameMap vae_name_map(const std::vector<std::string>& parameters) {
  NameMap map = identity_map(parameters);
  const auto declared = [&](std::string_view prefix) {
    return std::ranges::any_of(parameters, [&](const std::string& name) { return name.starts_with(prefix); });
  };
  if (!declared("encoder.")) map.ignore_prefix("encoder."), map.ignore_prefix("quant_conv.");
  if (!declared("decoder.")) map.ignore_prefix("decoder."), map.ignore_prefix("post_quant_conv.");
  return map;
}

}  // namespace fx
