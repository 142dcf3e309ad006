#include "lora/file/scale_rules.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "lora/messages.h"

namespace fx {
namespace {

using Json = nlohmann::ordered_json;  // patterns are tried in the order of the file

constexpr size_t kMostPatterns = 10000;
constexpr int kMostExpressions = 100;  // patterns that are more than names

const Json* field(const Json& object, const std::string& prefix, std::string_view name) {
  const auto found = object.find(prefix + std::string(name));
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

double number(const Json& value, const std::string& name, const std::string& label) {
  check(value.is_number() && std::isfinite(value.get<double>()), ErrorCode::bad_file,
        "{}: adapter metadata: {} is not a finite number", label, in_quotes(name));
  return value.get<double>();
}

std::optional<double> optional_number(const Json& object, const std::string& prefix, std::string_view name,
                                      const std::string& label) {
  const Json* value = field(object, prefix, name);
  return value ? std::optional(number(*value, prefix + std::string(name), label)) : std::nullopt;
}

bool flag(const Json& object, const std::string& prefix, std::string_view name, const std::string& label) {
  const Json* value = field(object, prefix, name);
  check(!value || value->is_boolean(), ErrorCode::bad_file, "{}: adapter metadata: '{}{}' is not true or false", label,
        prefix, name);
  return value && value->get<bool>();
}

template <class Patterns>
Patterns patterns(const Json& object, const std::string& prefix, std::string_view name, const std::string& label) {
  Patterns result;
  const Json* value = field(object, prefix, name);
  if (!value) return result;
  check(value->is_object() && value->size() <= kMostPatterns, ErrorCode::bad_file,
        "{}: adapter metadata: '{}{}' is not an object of at most {} patterns", label, prefix, name, kMostPatterns);
  int expressions = 0;
  for (const auto& [pattern, entry] : value->items()) {
    try {
      result.emplace_back(ModulePattern(pattern), number(entry, pattern, label));
      expressions += !result.back().first.literal();
    } catch (const Error& error) {
      fail(error.code(), "{}: adapter metadata: {}{}: {}", label, prefix, name, error.what());
    }
  }
  check(expressions <= kMostExpressions, ErrorCode::unsupported,
        "{}: adapter metadata: '{}{}' has {} regular expressions; at most {} are supported", label, prefix, name,
        expressions, kMostExpressions);
  return result;
}

template <class Patterns>
std::optional<double> first_match(const Patterns& patterns, std::string_view module) {
  for (const auto& [pattern, value] : patterns) {
    if (pattern.matches(module)) return value;
  }
  return std::nullopt;
}

bool has_fields(const Json& object, const std::string& prefix) {
  for (const auto& item : object.items()) {
    if (item.key().starts_with(prefix)) return true;
  }
  return false;
}

}  // namespace

ScaleRules::ScaleRules(const std::string& text, const std::string& label) : label_(label) {
  const Json object = Json::parse(text, nullptr, false);
  check(object.is_object(), ErrorCode::bad_file, "{}: adapter metadata is not a JSON object", label);
  for (const Component component : {Component::transformer, Component::text_encoder, Component::text_encoder_2}) {
    std::string prefix = std::string(name(component)) + ".";
    if (!has_fields(object, prefix)) prefix.clear();
    use_dora_ = flag(object, prefix, "use_dora", label) || use_dora_;
    rules_[component] = {
        optional_number(object, prefix, "r", label), optional_number(object, prefix, "lora_alpha", label),
        patterns<Patterns>(object, prefix, "rank_pattern", label),
        patterns<Patterns>(object, prefix, "alpha_pattern", label), flag(object, prefix, "use_rslora", label)};
  }
}

std::optional<double> ScaleRules::alpha(Component component, std::string_view module) const {
  const auto found = rules_.find(component);
  if (found == rules_.end()) return std::nullopt;
  const auto match = first_match(found->second.alpha_pattern, module);
  return match ? match : found->second.alpha;
}

std::optional<float> ScaleRules::scale(Component component, std::string_view module, int64_t rank) const {
  const auto alpha = this->alpha(component, module);
  if (!alpha) return std::nullopt;
  const Rules& rules = rules_.at(component);
  const auto rank_match = first_match(rules.rank_pattern, module);
  const auto stated = rank_match ? rank_match : rules.rank;
  check(!stated || *stated == static_cast<double>(rank), ErrorCode::bad_file,
        "{}: adapter metadata gives module {} the rank {}, but its matrices have {}, so its scale cannot be known",
        label_, in_quotes(module), stated.value_or(0), rank);
  const auto r = static_cast<double>(rank);
  const auto scale = static_cast<float>(*alpha / (rules.use_rslora ? std::sqrt(r) : r));
  check(std::isfinite(scale), ErrorCode::bad_file,
        "{}: adapter metadata: lora_alpha {} of module {} is beyond the range of f32", label_, *alpha,
        in_quotes(module));
  return scale;
}

}  // namespace fx
