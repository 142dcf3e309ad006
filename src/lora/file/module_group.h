// From the tensors of one module of a file to the changes that they describe.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "lora/file/adapter_data.h"
#include "lora/file/adapter_key.h"
#include "lora/file/read.h"
#include "lora/file/scale_rules.h"

namespace fx {

// The tensors of a file that belong to one module, or to one part of a fused module.
struct ModuleGroup {
  AdapterModule place;
  std::string name;  // the file's for the module
  std::array<const TensorInfo*, kKeyParts> tensors{};

  const TensorInfo* operator[](KeyPart part) const { return tensors[static_cast<size_t>(part)]; }
  const TensorInfo*& operator[](KeyPart part) { return tensors[static_cast<size_t>(part)]; }
};

// What all groups of a file have in common.
struct FileContext {
  std::string label;  // opens messages
  const TensorSource& source;
  ScaleRules rules;
  AdapterData data;
  AdapterReport& report;
};

// Appends the changes that a group describes to `modules`; their matrices have values after `context.data.load`. Keys
// that say nothing alone (an alpha without matrices) go to the report's unmatched ones. Throws bad_file for parts that
// are missing or do not fit each other.
void build_modules(const ModuleGroup& group, FileContext& context, std::vector<FileModule>& modules);

}  // namespace fx
