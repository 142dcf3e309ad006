#include "lora/settings.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"

namespace fx {

bool StepRange::contains(int step, int steps) const {
  const double at = static_cast<double>(step) / steps;
  return start <= at && at < end;
}

float AdapterSettings::scale_for(Component component) const {
  return component == Component::transformer ? scale : text_encoder_scale.value_or(scale);
}

void validate(const AdapterSettings& settings, std::string_view adapter) {
  const auto finite = [&](const char* what, float value) {
    check(std::isfinite(value), ErrorCode::invalid_argument, "adapter {}: expected a finite {}, found {}", adapter,
          what, value);
  };
  finite("scale", settings.scale);
  finite("scale", settings.text_encoder_scale.value_or(0));
  const auto& [start, end] = settings.steps;
  check(0.0 <= start && start <= end && end <= 1.0, ErrorCode::invalid_argument,
        "adapter {}: expected a range of steps within 0 to 1, found {} to {}", adapter, start, end);
  for (const BlockWeight& block : settings.blocks) {
    check(!block.pattern.empty(), ErrorCode::invalid_argument, "adapter {}: the pattern of a block weight is empty",
          adapter);
    finite("block weight", block.factor);
  }
  check(!settings.merge || !settings.beside, ErrorCode::invalid_argument,
        "adapter {}: expected it merged into the weights or beside them, found both", adapter);
}

std::string place_and_time(const AdapterSettings& settings) {
  std::string text;
  if (!settings.steps.whole()) text += fmt::format("@{}-{}", settings.steps.start, settings.steps.end);
  for (size_t i = 0; i < settings.blocks.size(); ++i) {
    text += fmt::format("{}{}={}", i ? ',' : '~', settings.blocks[i].pattern, settings.blocks[i].factor);
  }
  return text;
}

bool matches_glob(std::string_view pattern, std::string_view text) {
  // On a mismatch, only the last star need take one character more.
  size_t p = 0, t = 0, star = std::string_view::npos, taken = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p, ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++taken;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

}  // namespace fx
