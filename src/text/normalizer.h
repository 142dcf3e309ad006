// The `normalizer` section of a tokenizer.json.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "text/aligned_text.h"
#include "text/charsmap.h"

namespace fx {

using Normalizer = std::function<void(AlignedText&)>;

// Known: null, Sequence, NFC, NFD, NFKC, NFKD, Lowercase, Strip, Replace, Precompiled, Prepend.
// Throws Error(unsupported) that names any other type.
Normalizer parse_normalizer(const nlohmann::json& json, const std::string& file);

// What CLIP does: NFC, every run of white space to one space, lower case.
Normalizer clip_normalizer();
Normalizer charsmap_normalizer(Charsmap map);

}  // namespace fx
