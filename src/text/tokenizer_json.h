// tokenizer.json, the one file in which the tokenizers library keeps all steps of a tokenizer.
#pragma once

#include <filesystem>
#include <optional>

#include "text/token_pipeline.h"

namespace fx {

// All steps of the file; pad_id, eos_id and model_max_length are not in it. `has_special` says whether the file itself
// says which special tokens stand around the text (its post_processor).
// Throws Error(bad_file) for damaged files and Error(unsupported) for steps we do not implement, by name.
TokenPipeline parse_tokenizer_json(const std::filesystem::path& path, bool& has_special);

}  // namespace fx
