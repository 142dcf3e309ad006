// Sizes of text encoders without their model: layers of one encoder share them.
#pragma once

#include <string>
#include <vector>

#include "lora/file/read.h"

namespace fx {

// Throws bad_file when two changes of one text encoder contradict each other about a size ("hidden", "mlp"), naming
// both keys. `label` opens the message.
void check_text_sizes(const std::vector<FileModule>& modules, const std::string& label);

}  // namespace fx
