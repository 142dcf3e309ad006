// Tensors that --inputs gives in place of what the seed and the prompt would give.
#pragma once

#include <optional>
#include <vector>

#include "options.h"
#include "pipeline/request.h"

namespace fx::cli {

struct Inputs {
  GivenInputs given;
  std::optional<HostTensor> timestep, guidance;
};

// Reads `latents`, `prompt_embeds`, `pooled_prompt_embeds`, `timestep` and `guidance`, all optional, of any floating dtype;
// warns about tensors of other names. Throws bad_file for a broken file and for values that are not finite.
Inputs read_inputs(const Path& path);

// "latents + prompt_embeds": what replaces seed and prompt; empty for nothing.
std::string used_names(const GivenInputs& given);

// Pictures [begin, begin + count) of a tensor whose first axis counts pictures.
HostTensor pictures_of(const HostTensor& tensor, int64_t begin, int64_t count);

}  // namespace fx::cli
