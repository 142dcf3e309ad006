// Strict binding: fills every declared parameter from a file, or says everything that is wrong with the file at once.
#pragma once

#include <functional>
#include <string>

#include "io/tensor_source.h"
#include "nn/params.h"
#include "ops/ops.h"
#include "weights/name_map.h"

namespace fx {

// How much of the files has been read. Called on any thread, one at a time.
using LoadProgress = std::function<void(size_t bytes)>;

// Copies all tensors of `source` into the parameters of `store`, converted to the parameter's type and layout; quantised
// ones are quantised on the device as they arrive. Several threads read. File pages are released as they are used.
// Throws Error(bad_file) that lists all missing, unexpected and mis-shaped tensors; the parameters' contents are
// undefined then. `component` ("transformer") opens the message.
void bind_params(Ops& ops, ParamStore& store, const TensorSource& source, const NameMap& names,
                 const std::string& component, const LoadProgress& progress = nullptr);

// Zeros in all fronts: no adapter. Part of the above and below.
void clear_fronts(Ops& ops, const ParamStore& store);

// Random parameters, drawn on the host once and repeated: weights like those of a fresh linear layer, norms about 1,
// biases small. For measurements, which need sizes and no meaning.
void fill_random(Ops& ops, ParamStore& store, uint64_t seed);

}  // namespace fx
