// Random adapters, drawn in memory: what a file would have given after reading it.
#pragma once

#include <memory>

#include "lora/adapter.h"
#include "lora/target.h"

namespace fx::cli {

// On which linear layers of the transformer's blocks, in the granularity of diffusers (to_q, to_k, to_v, proj_mlp, ...).
enum class AdapterLayers {
  all,  // modulation included
  attention,
  some,  // a random half of them
};

// bf16 values, as files have them, made ready for slots as the library does it. The same seed gives the same adapter.
std::shared_ptr<const Adapter> draw_adapter(const AdapterTarget& target, int64_t rank, AdapterLayers layers,
                                            uint64_t seed);

}  // namespace fx::cli
