// How the command line names adapters:
//
//   FILE[:SCALE[:TE_SCALE]][@START-END][~PATTERN=FACTOR,...]
//
// "ink.safetensors:0.8:0@0-0.6~double_blocks.*=0.5" acts at 0.8 on the transformer, not on the text encoders, in the
// first 60 % of the steps, and half as strongly on the double blocks. What does not read as such a suffix belongs to the
// file's name, which may have colons and all the rest.
#pragma once

#include <string>
#include <vector>

#include "pipeline/engine.h"

namespace fx::cli {

// The same for people, as the end of a command's help.
extern const char* const kAdapterHelp;

// Throws UsageError for a suffix that does not read, behind the name of a file that exists.
AdapterChoice parse_adapter(const std::string& text);

// Adapters that act together: "a.safetensors:0.8+b.safetensors". A file whose name has a plus is taken as it is.
std::vector<AdapterChoice> parse_adapter_set(const std::string& text);

// "ink:0.8:0@0-0.6", or "none": as above, with names for files.
std::string describe_adapters(const std::vector<AdapterChoice>& adapters);

}  // namespace fx::cli
