// The part of a report that follows from what has been read.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lora/file/read.h"
#include "lora/file/recognise.h"

namespace fx {

// Counts ranks, components, targets and what is merged, and reads trainer, trigger words and base model from the
// metadata. Warns in the report of a file that was made for another model or carries more than can be used.
void describe(AdapterFile& file);

// By the modules of the transformer.
TransformerSizes sizes_of(const AdapterFile& file);

// Appends an entry that is not there yet.
void note(std::vector<std::string>& list, std::string_view entry);

}  // namespace fx
