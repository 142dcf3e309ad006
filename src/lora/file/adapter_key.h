// Keys of adapter files: prefix + module + suffix, each with a table of its own, key by key. Files mix spellings, so no
// format is decided for a whole file.
#pragma once

#include <optional>
#include <string_view>

#include "weights/adapter_names.h"

namespace fx {

// What a tensor is to its module.
enum class KeyPart {
  down,        // A (rank, in)
  up,          // B (out, rank)
  bias,        // (out): added to the module's bias, with the scale of the pair
  alpha,       // one number; the scale is alpha / rank
  scale,       // one number: the scale itself. Of a norm: its new gain
  magnitude,   // DoRA (out)
  dora_scale,  // DoRA (out, 1), (out) or (1, in)
  hada_w1_a,   // LoHa: `a` (out, rank), `b` (rank, in), twice
  hada_w1_b,
  hada_w2_a,
  hada_w2_b,
  lokr_w1,  // LoKr: two factors, each whole or `a` (.., rank) and `b` (rank, ..)
  lokr_w1_a,
  lokr_w1_b,
  lokr_w2,
  lokr_w2_a,
  lokr_w2_b,
  difference,       // of the weight
  bias_difference,  // (out)
  new_value,        // replaces the weight
  weight,           // the weight itself: the new gain of a norm; else not of an adapter
  resize,           // two integers: the weight is to be padded to this shape
  unused,           // known, and of no use here
  unsupported,      // part of an algorithm that is not read
};
constexpr size_t kKeyParts = static_cast<size_t>(KeyPart::unsupported) + 1;

struct AdapterKey {
  std::string_view name;                // the file's name of the module, without prefixes and suffix
  std::optional<AdapterModule> module;  // nothing for an unknown name
  KeyPart part = KeyPart::unused;
  std::string_view algorithm;  // of an unsupported part: "OFT"
  std::string_view format;     // who spells keys so: "kohya"; empty when several do
};

// The key from its module on.
std::string_view without_prefixes(std::string_view key);

// Takes a key apart; nothing when it does not end like a key of an adapter. Views are of `key` and of constants.
std::optional<AdapterKey> parse_adapter_key(std::string_view key);

}  // namespace fx
