// Strict binding: fills every declared parameter from a file, or says everything that is wrong with the file at once.
#pragma once

#include <string>

#include "io/tensor_source.h"
#include "nn/params.h"
#include "weights/name_map.h"

namespace fx {

// Copies all tensors of `source` into the parameters of `store`, converting to f32 and to the parameter's layout. File
// pages are released as they are used. Throws Error(bad_file) that lists all missing, unexpected and mis-shaped tensors;
// the parameters' contents are undefined then. `component` ("transformer") opens the message.
void bind_params(ParamStore& store, const TensorSource& source, const NameMap& names, const std::string& component);

}  // namespace fx
