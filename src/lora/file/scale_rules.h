// alpha / rank where a file states it once for all its modules: PEFT's configuration, in the header or beside the file.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lora/adapter.h"
#include "lora/file/pattern.h"

namespace fx {

class ScaleRules {
 public:
  ScaleRules() = default;  // no rules

  // `text` is JSON: one flat object whose fields have the component in front ("transformer.lora_alpha"), as diffusers
  // writes it into the header, or none, as PEFT does. `label` opens messages. Throws bad_file for what is not of that
  // form.
  ScaleRules(const std::string& text, const std::string& label);

  // The alpha of a module; nothing when no rule says.
  std::optional<double> alpha(Component component, std::string_view module) const;

  // The scale of a module, by the name that the file gives it; nothing when no rule says. Throws bad_file when the
  // rules give the module another rank than it has.
  std::optional<float> scale(Component component, std::string_view module, int64_t rank) const;

  // Whether they promise DoRA magnitudes for any component.
  bool use_dora() const { return use_dora_; }

 private:
  using Patterns = std::vector<std::pair<ModulePattern, double>>;
  struct Rules {
    std::optional<double> rank, alpha;
    Patterns rank_pattern, alpha_pattern;  // the first that matches wins
    bool use_rslora = false;
  };

  std::string label_;
  bool use_dora_ = false;
  std::map<Component, Rules> rules_;
};

}  // namespace fx
