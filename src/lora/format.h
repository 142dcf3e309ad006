// The one interface of all file formats: a format knows how to take a key apart. What the parts mean is in read.cc,
// once.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lora/adapter.h"

namespace fx {

enum class KeyPart {
  down,         // A (rank, in)
  up,           // B (out, rank)
  alpha,        // one number; the scale is alpha / rank
  ignored,      // known, and of no use here
  unsupported,  // part of an adapter that is more than a pair of matrices
};

struct AdapterKey {
  Component component = Component::transformer;
  std::string module;  // the file's name for it, without prefixes; the name map of the component knows it
  KeyPart part = KeyPart::down;
  std::string_view algorithm;  // of an unsupported part: "DoRA"
};

struct AdapterFormat {
  std::string_view name;
  // Takes a key apart, or returns nothing when it is not of this format.
  std::optional<AdapterKey> (*parse)(std::string_view key);
};

// All formats; the first that can parse a key has it. Files may mix them.
std::span<const AdapterFormat> adapter_formats();

// The formats, one file each.
std::optional<AdapterKey> parse_peft_key(std::string_view key);

}  // namespace fx
