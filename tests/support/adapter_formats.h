// Writes one adapter in the formats of different trainers: to prove that they all mean the same to us. The names come
// from a table of its own, so that a mistake in the product's table does not cancel out.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lora/write/convert.h"

namespace fx::test {

// By full diffusers name, as to_diffusers returns it.
using DiffusersModules = std::map<std::string, DiffusersModule>;

enum class Naming {
  diffusers,
  original,  // fused: q, k, v (and the MLP) in one module
  slices,    // the original's names, numbered parts
  xlabs,     // attention only
};

struct FormatSpec {
  std::string_view name;
  Naming naming;
  bool underscores;
  std::string_view transformer, clip, t5;  // prefixes; without one, the format cannot hold that component
  std::string_view down, up;               // suffixes
  std::string_view text_down, text_up;     // of text encoders; as above where empty
  enum class Scale { none, alpha_key, config_file } scale;
};

const std::vector<FormatSpec>& format_specs();

// Writes the adapter into `folder` and returns the file; nothing when the format cannot hold all of it. Where the format
// can state a scale it is 1/2, and B twice as large, so that every product stays exact. `hidden` is the transformer's.
std::optional<std::filesystem::path> write_in_format(const std::filesystem::path& folder, const FormatSpec& format,
                                                     const DiffusersModules& modules, int64_t hidden);

}  // namespace fx::test
