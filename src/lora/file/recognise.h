// What a file is that cannot be read as a FLUX.1 adapter, told from its keys alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fx {

constexpr std::string_view kFlux1 = "FLUX.1";

// Throws unsupported when a key belongs to another model family only, naming it and the key; returns otherwise.
void refuse_other_family(const std::vector<std::string>& keys, const std::string& label);

// Throws bad_file: no key is part of an adapter. Says what the file looks like instead.
[[noreturn]] void refuse_not_an_adapter(const std::vector<std::string>& keys, const std::string& label);

// The sizes that names do not tell: families share names.
struct TransformerSizes {
  int64_t width = 0;          // of the hidden states; 0 when unknown
  int64_t double_blocks = 0;  // the highest index and one
  int64_t single_blocks = 0;
  int64_t linear1 = 0;  // rows of the fused layer of the single blocks; 0 when unknown

  bool beyond_flux() const;  // more blocks than FLUX.1 has
};

// The family whose published models have these sizes; empty when none has.
std::string_view likely_family(const TransformerSizes& sizes);

}  // namespace fx
