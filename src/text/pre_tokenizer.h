// The `pre_tokenizer` section of a tokenizer.json: cuts normalised text into the words that the model sees.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "text/aligned_text.h"

namespace fx {

// Cuts one text into pieces, none of them empty. A text that begins at origin 0 is the first of the prompt.
using PreTokenizer = std::function<std::vector<AlignedText>(const AlignedText&)>;

// Known: null, Sequence, WhitespaceSplit, Metaspace, ByteLevel, and Split with the regular expression of CLIP.
// Throws Error(unsupported) that names any other type.
PreTokenizer parse_pre_tokenizer(const nlohmann::json& json, const std::string& file);

// What CLIP does: words, single digits and runs of punctuation, white space dropped, in the byte alphabet of GPT-2.
PreTokenizer clip_pre_tokenizer();
// What T5 does: words without white space, each behind U+2581.
PreTokenizer t5_pre_tokenizer();

}  // namespace fx
